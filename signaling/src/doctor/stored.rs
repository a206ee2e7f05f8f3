//! The database: whether it answers, how fast, and whether its tables are as they must be.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::{Findings, Scene};
use crate::commands::database;
use crate::store::sql::Place;

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A database that is slower than this delays every call that asks it.
const SLOW: Duration = Duration::from_millis(500);

pub(super) async fn look(scene: &Scene<'_>) -> Findings {
    let mut findings = Findings::of("database");
    let storage = scene.config.storage();
    let name = storage.place.name();
    if let Place::File(path) = &storage.place
        && !path.exists()
    {
        findings.good(format!("{name} is made at the start"));
        return findings;
    }
    let begun = Instant::now();
    match timeout(PATIENCE, database::check(&storage)).await {
        Err(_) => findings.fault(
            format!("{name} does not answer in {} s", PATIENCE.as_secs()),
            "is it up, and reachable from here?",
        ),
        Ok(Err(error)) => findings.fault(
            format!("{error:#}"),
            "causeway db check says what there is, causeway db create adds what is missing",
        ),
        Ok(Ok(_)) if begun.elapsed() > SLOW => {
            let what = format!("{name} is good, but takes {} ms to say so", begun.elapsed().as_millis());
            findings.warn(what, "a faster disk, or a nearer server");
        }
        Ok(Ok(_)) => findings.good(format!("{name} answers, and has what it must have")),
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::{Level, Options};
    use super::*;
    use crate::config::Config;

    #[tokio::test]
    async fn a_file_that_is_no_database_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("[general]\ndata_directory = \"{}\"\n", folder.path().display());
        let config = Config::parse(&text, "x.toml").unwrap();
        let options = Options::default();
        let scene = Scene::bare(&config, &options);
        let level = async || look(&scene).await.list.remove(0);
        assert_eq!(level().await.level, Level::Good, "it is not there yet");
        database::create(&config.storage()).await.unwrap();
        assert_eq!(level().await.level, Level::Good);
        std::fs::write(
            folder.path().join("causeway.sqlite"),
            "no database at all, and longer than a header is",
        )
        .unwrap();
        let found = level().await;
        assert_eq!(found.level, Level::Fault, "{found:?}");
    }
}
