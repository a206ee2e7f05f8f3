//! What is kept of an ACME server in the data directory: the account, and the certificate with its key.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use instant_acme::AccountCredentials;

use crate::certs::{Issued, write_secret};

/// The folder `acme` of the data directory, for its owner only.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
}

impl Files {
    /// Makes it, unless it is there.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn open(data_directory: &Path) -> anyhow::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let directory = data_directory.join("acme");
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.with_context(|| directory.display().to_string())?;
        Ok(Self { directory })
    }

    fn account_path(&self) -> PathBuf {
        self.directory.join("account.json")
    }

    /// One file for both, so that a power cut leaves no certificate without its key.
    fn certificate_path(&self) -> PathBuf {
        self.directory.join("certificate.pem")
    }

    /// The account at the server with this directory, if there is one.
    ///
    /// # Errors
    /// The file cannot be read. It is not replaced by another: whoever has the account may have put something into it.
    pub(super) fn account(&self, server: &str) -> anyhow::Result<Option<AccountCredentials>> {
        let path = self.account_path();
        let Some(text) = read(&path)? else { return Ok(None) };
        let read = || -> anyhow::Result<Option<AccountCredentials>> {
            let kept: serde_json::Value = serde_json::from_slice(&text)?;
            if kept["directory"] != server {
                return Ok(None);
            }
            Ok(Some(serde_json::from_value(kept)?))
        };
        read().with_context(|| path.display().to_string())
    }

    /// Keeps the account.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn keep_account(&self, account: &AccountCredentials) -> anyhow::Result<()> {
        let path = self.account_path();
        write_secret(&path, &serde_json::to_vec(account)?).with_context(|| path.display().to_string())
    }

    /// The server does not know it any more.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub(super) fn forget_account(&self) -> anyhow::Result<()> {
        let path = self.account_path();
        std::fs::remove_file(&path).with_context(|| path.display().to_string())
    }

    /// The certificate that was kept, if there is one.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn certificate(&self) -> anyhow::Result<Option<Issued>> {
        let path = self.certificate_path();
        let pem = read(&path)?;
        pem.map(|pem| Issued::from_pem(&pem)).transpose().with_context(|| path.display().to_string())
    }

    /// Keeps PEM with the key and the chain.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn keep_certificate(&self, pem: &str) -> anyhow::Result<()> {
        let path = self.certificate_path();
        write_secret(&path, pem.as_bytes()).with_context(|| path.display().to_string())
    }
}

fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn an_account_is_that_of_its_server() {
        let data = tempfile::tempdir().unwrap();
        let files = Files::open(data.path()).unwrap();
        assert!(files.account("https://a/dir").unwrap().is_none());
        let text = r#"{"id":"https://a/acct/1","key_pkcs8":"AAAA","directory":"https://a/dir"}"#;
        files.keep_account(&serde_json::from_str(text).unwrap()).unwrap();
        assert!(files.account("https://a/dir").unwrap().is_some());
        assert!(files.account("https://b/dir").unwrap().is_none());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&files.account_path()), mode(&files.directory)), (0o600, 0o700));
        files.forget_account().unwrap();
        assert!(files.account("https://a/dir").unwrap().is_none());
        std::fs::write(files.account_path(), "half").unwrap();
        assert!(format!("{:#}", files.account("https://a/dir").err().unwrap()).contains("account.json"));
    }

    #[test]
    fn a_certificate_is_there_again() {
        let data = tempfile::tempdir().unwrap();
        let files = Files::open(data.path()).unwrap();
        assert!(files.certificate().unwrap().is_none());
        let made = rcgen::generate_simple_self_signed(vec!["gw.example".to_owned()]).unwrap();
        files.keep_certificate(&(made.signing_key.serialize_pem() + &made.cert.pem())).unwrap();
        assert!(files.certificate().unwrap().unwrap().is_for("gw.example"));
        std::fs::write(files.certificate_path(), "half").unwrap();
        assert!(format!("{:#}", files.certificate().err().unwrap()).contains("certificate.pem"));
    }
}
