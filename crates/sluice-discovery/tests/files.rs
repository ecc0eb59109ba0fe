//! Files of backends in real directories.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use sluice_core::model::{Lookup, Resolver};
use sluice_discovery::{Discovery, LookupState, SavedAnswers};
use tempfile::TempDir;

/// Files of a directory that are watched.
struct Bed {
    directory: TempDir,
    discovery: Discovery,
    lookup: Lookup,
}

impl Bed {
    /// Watches `web.d/*.yaml`; `web.d` exists.
    fn start(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("web.d")).unwrap();
        files
            .iter()
            .for_each(|(name, text)| fs::write(directory.path().join("web.d").join(name), text).unwrap());
        Bed::watch(directory, "web.d/*.yaml")
    }

    /// Files are not read now and then: each change must be noticed.
    fn watch(directory: TempDir, pattern: &str) -> Self {
        let lookup = Lookup::Files(directory.path().join(pattern));
        let mut discovery = Discovery::system().with_refresh(None);
        discovery.watch(&resolver(), [lookup.clone()].into());
        Bed { directory, discovery, lookup }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// As programs do that replace a file atomically.
    fn replace(&self, name: &str, text: &str) {
        let new = self.path("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    fn state(&self) -> LookupState {
        self.discovery.board().states()[&self.lookup].clone()
    }

    async fn until(&self, is_wanted: impl Fn(&LookupState) -> bool) -> LookupState {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let state = self.state();
            if is_wanted(&state) {
                return state;
            }
            assert!(Instant::now() < deadline, "{state:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for an answer with addresses that end like this.
    async fn until_found(&self, last: &[u8]) -> LookupState {
        let wanted: BTreeSet<_> = last.iter().map(|last| format!("10.0.0.{last}")).collect();
        self.until(|state| state.answer.is_some() && addresses(state) == wanted).await
    }

    async fn until_error(&self, part: &str) -> LookupState {
        self.until(|state| state.error.as_ref().is_some_and(|error| error.message.contains(part))).await
    }
}

/// Errors are retried after an hour, so that only events count; the empty answer counts after a second.
fn resolver() -> Resolver {
    let hour = Duration::from_secs(3600);
    Resolver { min_ttl: hour, max_ttl: hour, hold: Duration::from_secs(1), ..Resolver::default() }
}

fn addresses(state: &LookupState) -> BTreeSet<String> {
    state.answer.iter().flat_map(|answer| &answer.found).map(|found| found.address.to_string()).collect()
}

fn backend(last: u8) -> String {
    format!("- 10.0.0.{last}:80\n")
}

#[tokio::test]
async fn files_when_written_replaced_and_deleted_change_the_answer() {
    let bed = Bed::start(&[("a.yaml", &backend(1)), ("b.yaml", &backend(2)), (".c.yaml", &backend(3))]);
    bed.until_found(&[1, 2]).await;
    bed.write("web.d/a.yaml", &(backend(1) + &backend(4)));
    bed.until_found(&[1, 2, 4]).await;
    bed.replace("web.d/b.yaml", &backend(5));
    bed.until_found(&[1, 4, 5]).await;
    bed.write("web.d/c.yaml", &backend(6));
    bed.until_found(&[1, 4, 5, 6]).await;
    fs::remove_file(bed.path("web.d/a.yaml")).unwrap();
    bed.until_found(&[5, 6]).await;
    fs::rename(bed.path("web.d/c.yaml"), bed.path("web.d/c.off")).unwrap();
    let state = bed.until_found(&[5]).await;
    assert_eq!(state.error, None);
}

#[tokio::test]
async fn bad_file_keeps_its_last_good_content_and_others_go_on() {
    let bed = Bed::start(&[("a.yaml", &backend(1)), ("b.yaml", &backend(2))]);
    bed.until_found(&[1, 2]).await;
    bed.write("web.d/a.yaml", "- 10.0.0.9:80\n- 10.0.0.300:80\n");
    let state = bed.until_error("a.yaml:2:3: error: ").await;
    assert_eq!((addresses(&state).len(), state.is_stale()), (2, true));
    bed.write("web.d/b.yaml", &backend(3));
    bed.until_found(&[1, 3]).await;
    bed.write("web.d/a.yaml", &backend(4));
    let state = bed.until_found(&[3, 4]).await;
    assert_eq!(state.error, None);
    // Half written.
    bed.write("web.d/a.yaml", "- { address: 10.0.0.9");
    bed.until_error("a.yaml:").await;
    assert_eq!(addresses(&bed.state()).len(), 2);
    fs::remove_file(bed.path("web.d/a.yaml")).unwrap();
    let state = bed.until_found(&[3]).await;
    assert_eq!(state.error, None);
}

#[tokio::test]
async fn directory_that_appears_later_is_watched() {
    let bed = Bed::watch(tempfile::tempdir().unwrap(), "run/sluice/web.d/*.yaml");
    bed.until_error("no file matches").await;
    // Before it counts as empty for good.
    fs::create_dir_all(bed.path("run/sluice/web.d")).unwrap();
    bed.write("run/sluice/web.d/a.yaml", &backend(1));
    bed.until_found(&[1]).await;
    // Another directory in its place.
    fs::create_dir(bed.path("other")).unwrap();
    bed.write("other/a.yaml", &backend(2));
    fs::rename(bed.path("run/sluice/web.d"), bed.path("run/sluice/old")).unwrap();
    fs::rename(bed.path("other"), bed.path("run/sluice/web.d")).unwrap();
    bed.until_found(&[2]).await;
    bed.write("run/sluice/web.d/a.yaml", &backend(3));
    bed.until_found(&[3]).await;
}

#[tokio::test]
async fn files_when_the_last_is_gone_are_an_error_until_hold_is_over() {
    let bed = Bed::start(&[("a.yaml", &backend(1))]);
    bed.until_found(&[1]).await;
    fs::remove_dir_all(bed.path("web.d")).unwrap();
    let state = bed.until_error("no file matches").await;
    assert_eq!(addresses(&state).len(), 1);
    let state = bed.until_found(&[]).await;
    assert_eq!(state.error, None);
}

#[tokio::test]
async fn link_that_is_swapped_as_kubernetes_does_changes_the_answer() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("..1")).unwrap();
    fs::write(at("..1/a.yaml"), backend(1)).unwrap();
    symlink("..1", at("..data")).unwrap();
    symlink("..data/a.yaml", at("a.yaml")).unwrap();
    let bed = Bed::watch(directory, "*.yaml");
    bed.until_found(&[1]).await;
    fs::create_dir(bed.path("..2")).unwrap();
    bed.write("..2/a.yaml", &backend(2));
    symlink("..2", bed.path("..data_tmp")).unwrap();
    fs::rename(bed.path("..data_tmp"), bed.path("..data")).unwrap();
    fs::remove_dir_all(bed.path("..1")).unwrap();
    let state = bed.until_found(&[2]).await;
    assert_eq!(state.error, None);
}

#[tokio::test]
async fn link_to_nowhere_keeps_the_last_good_content() {
    let bed = Bed::start(&[("b.yaml", &backend(2))]);
    bed.write("real", &backend(1));
    symlink("../real", bed.path("web.d/a.yaml")).unwrap();
    bed.until_found(&[1, 2]).await;
    symlink("../nowhere", bed.path("link")).unwrap();
    fs::rename(bed.path("link"), bed.path("web.d/a.yaml")).unwrap();
    let state = bed.until_error("cannot read the file: No such file or directory").await;
    assert_eq!(addresses(&state).len(), 2);
}

#[tokio::test]
async fn fifo_device_and_directory_are_errors_and_block_nothing() {
    let bed = Bed::start(&[("b.yaml", &backend(1))]);
    bed.until_found(&[1]).await;
    let (path, mode) = (bed.path("web.d/a.yaml"), Mode::from_bits_truncate(0o600));
    mkfifo(&path, mode).unwrap();
    bed.until_error("it is a FIFO or a pipe").await;
    fs::remove_file(&path).unwrap();
    symlink(Path::new("/dev/zero"), &path).unwrap();
    bed.until_error("it is a device").await;
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    bed.until_error("Is a directory").await;
    bed.write("web.d/b.yaml", &backend(2));
    bed.until(|state| addresses(state).contains("10.0.0.2")).await;
    fs::remove_dir(&path).unwrap();
    let state = bed.until_found(&[2]).await;
    assert_eq!(state.error, None);
}

#[tokio::test]
async fn bad_file_after_a_restart_keeps_the_answer_of_the_earlier_run() {
    let bed = Bed::start(&[("a.yaml", &backend(1)), ("b.yaml", &backend(2))]);
    bed.until_found(&[1, 2]).await;
    let text = serde_json::to_string(&bed.discovery.board().saved()).unwrap();
    bed.write("web.d/a.yaml", "- bad\n");
    bed.write("web.d/b.yaml", &backend(3));
    let Bed { directory, lookup, discovery } = bed;
    drop(discovery);
    let mut discovery = Discovery::system().with_refresh(None);
    discovery.restore(serde_json::from_str::<SavedAnswers>(&text).unwrap().restored());
    discovery.watch(&resolver(), [lookup.clone()].into());
    let bed = Bed { directory, discovery, lookup };
    // Nobody knows whether the bad file had these.
    bed.until_found(&[1, 2, 3]).await;
    bed.write("web.d/a.yaml", &backend(4));
    let state = bed.until_found(&[3, 4]).await;
    assert_eq!(state.error, None);
}

#[tokio::test]
async fn backend_of_two_files_counts_once_and_is_reported() {
    let bed = Bed::start(&[("a.yaml", &backend(1)), ("b.yaml", &(backend(1) + &backend(2)))]);
    bed.until_found(&[1, 2]).await;
    let message = bed.state().error.unwrap().message;
    assert!(message.contains("b.yaml: error: 10.0.0.1 is in") && message.contains("a.yaml"), "{message}");
}

#[tokio::test]
async fn file_of_10_000_backends_is_read_and_a_larger_one_is_an_error() {
    let list = |number: usize| -> String {
        (0..number).map(|number| format!("- 10.1.{}.{}:80\n", number / 256, number % 256)).collect()
    };
    let bed = Bed::start(&[("a.yaml", &list(10_000))]);
    bed.until(|state| addresses(state).len() == 10_000).await;
    bed.replace("web.d/a.yaml", &list(10_001));
    let state = bed.until_error("10001 backends; at most 10000 are allowed").await;
    assert_eq!(addresses(&state).len(), 10_000);
}

#[tokio::test]
async fn last_of_many_changes_counts() {
    let bed = Bed::start(&[("a.yaml", &backend(0))]);
    bed.until_found(&[0]).await;
    let before = bed.state().queries;
    for last in 1..=200 {
        bed.replace("web.d/a.yaml", &backend(last));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let state = bed.until_found(&[200]).await;
    let reads = state.queries - before;
    // They took two seconds or more; during a constant stream of changes files are read twice a second.
    assert!((2..100).contains(&reads), "{reads}");
}
