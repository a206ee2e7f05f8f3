//! The country that an address is registered in, by a file of MaxMind's format on this host (Kamailio's `geoip2` module, its
//! parameter `path`). No network is asked.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use arc_swap::ArcSwap;
use maxminddb::{PathElement, Reader, WithinOptions};

/// How often it is looked whether the file is another one.
const LOOK: Duration = Duration::from_secs(2);
/// Networks of a file that are looked at for a country, before it is believed to have any.
const SOME: usize = 1000;

/// Where a country stands: that of the network first, then that of its owner.
const PLACES: [[PathElement<'_>; 2]; 2] = [
    [PathElement::Key("country"), PathElement::Key("iso_code")],
    [PathElement::Key("registered_country"), PathElement::Key("iso_code")],
];

/// The file in memory; clones share it.
#[derive(Debug, Clone)]
pub struct Countries {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    reader: ArcSwap<Reader<Vec<u8>>>,
    /// What the file was before it was read first.
    opened: Stamp,
}

/// What tells one state of a file from another.
type Stamp = Option<(u64, u64, i64, i64)>;

impl Countries {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, is not of that format, or says nothing of countries.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let opened = stamp(path);
        let reader = ArcSwap::from_pointee(read(path)?);
        Ok(Self { inner: Arc::new(Inner { path: path.to_owned(), reader, opened }) })
    }

    /// The country of an address, in upper case.
    #[must_use]
    pub fn of(&self, address: IpAddr) -> Option<[u8; 2]> {
        country(&self.inner.reader.load(), address)
    }

    /// Reads the file again. With an error what was read before stays.
    ///
    /// # Errors
    /// As [`Countries::open`].
    pub fn reload(&self) -> anyhow::Result<()> {
        self.inner.reader.store(Arc::new(read(&self.inner.path)?));
        Ok(())
    }

    /// Reads it whenever it has changed; never ends.
    pub async fn follow(self) {
        let mut known = self.inner.opened;
        let mut ticks = tokio::time::interval(LOOK);
        loop {
            ticks.tick().await;
            let stamp = stamp(&self.inner.path);
            // One that is being replaced is there again in a moment.
            if stamp.is_none() || stamp == known {
                continue;
            }
            known = stamp;
            let countries = self.clone();
            let path = self.inner.path.display().to_string();
            match tokio::task::spawn_blocking(move || countries.reload()).await {
                Ok(Ok(())) => tracing::info!(path, "countries read again"),
                Ok(Err(error)) => {
                    let error = format!("{error:#}");
                    tracing::error!(path, error, "countries not read: the old ones count");
                }
                Err(error) => tracing::error!(path, %error, "countries not read: the old ones count"),
            }
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let about = std::fs::metadata(path).ok()?;
    Some((about.ino(), about.size(), about.mtime(), about.mtime_nsec()))
}

fn read(path: &Path) -> anyhow::Result<Reader<Vec<u8>>> {
    let named = || format!("geoip2.path {}", path.display());
    let bytes = std::fs::read(path).with_context(named)?;
    let reader = Reader::from_source(bytes).context("no database of MaxMind's format").with_context(named)?;
    let options = WithinOptions::default();
    let mut networks = reader.networks(options).with_context(named)?.take(SOME);
    let has = networks.any(|network| {
        network.is_ok_and(|network| {
            PLACES.iter().any(|place| matches!(network.decode_path::<&str>(place), Ok(Some(_))))
        })
    });
    ensure!(
        has,
        "{}: a database of {:?}, which says nothing of countries",
        named(),
        reader.metadata().database_type
    );
    Ok(reader)
}

fn country(reader: &Reader<Vec<u8>>, address: IpAddr) -> Option<[u8; 2]> {
    // A file of IPv4 alone knows nothing of the others; a broken place in it is as good as nothing.
    let found = reader.lookup(address).ok().filter(|found| found.has_data())?;
    let code = PLACES.iter().find_map(|place| found.decode_path::<&str>(place).ok().flatten())?;
    let code: [u8; 2] = code.as_bytes().try_into().ok()?;
    Some(code.map(|letter| letter.to_ascii_uppercase()))
}

#[cfg(test)]
#[path = "../../tests/src/mmdb.rs"]
#[allow(unreachable_pub, reason = "the end-to-end tests use the file too")]
mod mmdb;

#[cfg(test)]
mod tests {
    use super::*;

    fn written(directory: &Path, networks: &[(&str, &str)]) -> PathBuf {
        let path = directory.join("countries.mmdb");
        std::fs::write(&path, mmdb::countries(networks)).unwrap();
        path
    }

    #[test]
    fn an_address_is_in_the_country_of_its_network() {
        let directory = tempfile::tempdir().unwrap();
        let networks = [
            ("192.0.2.0/24", "DE"),
            ("192.0.2.128/25", "at"),
            ("198.51.100.7/32", "FR"),
            ("2001:db8::/32", "CH"),
        ];
        let countries = Countries::open(&written(directory.path(), &networks)).unwrap();
        for (address, expected) in [
            ("192.0.2.1", Some("DE")),
            ("192.0.2.200", Some("AT")),
            ("198.51.100.7", Some("FR")),
            ("198.51.100.8", None),
            ("2001:db8:ffff::1", Some("CH")),
            ("2001:db9::1", None),
            ("0.0.0.0", None),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None),
        ] {
            let found = countries.of(address.parse().unwrap());
            assert_eq!(found.as_ref().map(|code| std::str::from_utf8(code).unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_and_the_old_one_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = written(directory.path(), &[("192.0.2.0/24", "DE")]);
        let countries = Countries::open(&path).unwrap();
        let good = std::fs::read(&path).unwrap();
        let other = mmdb::database("Test-ASN", &[("192.0.2.0/24", &[("asn", "64500")])]);
        for (bytes, what) in [
            (b"no database".to_vec(), "no database of MaxMind's format"),
            (Vec::new(), "no database of MaxMind's format"),
            (good[..good.len() / 2].to_vec(), "no database of MaxMind's format"),
            (other, "\"Test-ASN\", which says nothing of countries"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            for error in [Countries::open(&path).map(drop).unwrap_err(), countries.reload().unwrap_err()] {
                let error = format!("{error:#}");
                assert!(error.contains("geoip2.path") && error.contains(what), "{error}");
            }
            assert_eq!(countries.of([192, 0, 2, 1].into()), Some(*b"DE"));
        }
        std::fs::remove_file(&path).unwrap();
        let error = format!("{:#}", Countries::open(&path).unwrap_err());
        assert!(error.contains("countries.mmdb") && error.contains("No such file"), "{error}");
    }

    /// Whatever stands in a file, nobody falls over it.
    #[test]
    fn broken_files_are_no_danger() {
        let directory = tempfile::tempdir().unwrap();
        let path = written(directory.path(), &[("192.0.2.0/24", "DE"), ("2001:db8::/32", "CH")]);
        let good = std::fs::read(&path).unwrap();
        for place in 0..good.len() {
            for value in [0, 0x20, 0x7f, 0xff] {
                let mut bytes = good.clone();
                bytes[place] = value;
                if let Ok(reader) = Reader::from_source(bytes) {
                    for address in ["192.0.2.1", "2001:db8::1", "::"] {
                        country(&reader, address.parse().unwrap());
                    }
                }
            }
        }
    }

    #[tokio::test]
    async fn a_new_file_counts_soon() {
        let directory = tempfile::tempdir().unwrap();
        let path = written(directory.path(), &[("192.0.2.0/24", "DE")]);
        let countries = Countries::open(&path).unwrap();
        let following = tokio::spawn(countries.clone().follow());
        // As geoipupdate does it.
        let new = directory.path().join("new");
        std::fs::write(&new, mmdb::countries(&[("192.0.2.0/24", "AT")])).unwrap();
        std::fs::rename(&new, &path).unwrap();
        let soon = async {
            while countries.of([192, 0, 2, 1].into()) != Some(*b"AT") {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), soon).await.unwrap();
        following.abort();
    }
}
