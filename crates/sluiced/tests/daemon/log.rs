//! Log lines of events that appear nowhere else.

use std::fs;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluice_api::{Admin, OverrideChange};
use tokio::time::sleep;
use tracing::subscriber::DefaultGuard;

use crate::host::Host;
use crate::{WEB, WEB3};

/// What this thread logs while it is kept.
struct Log {
    text: Text,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn begin() -> Self {
        let text = Text::default();
        let writer = text.clone();
        let lines = tracing_subscriber::fmt().without_time().with_target(false).with_ansi(false);
        let subscriber = lines.with_writer(move || writer.clone()).finish();
        Log { text, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// Lines since the last time that have these words.
    fn of(&self, words: &str) -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut *self.text.0.lock().unwrap())).unwrap();
        text.lines().map(|line| line.trim().to_owned()).filter(|line| line.contains(words)).collect()
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn override_is_discarded_with_a_word_when_its_backend_is_no_longer_configured() {
    let log = Log::begin();
    let discarded = |backend: &str| {
        [format!("WARN discarded override of web/{backend}: the backend is no longer configured")]
    };
    let host = Host::new(WEB3);
    host.run(async |daemon| {
        for backend in ["10.0.2.11:8080", "10.0.2.12:8080", "10.0.2.13:8080"] {
            daemon.set(&format!("web/{backend}"), OverrideChange::Admin(Admin::Drain)).await.unwrap();
        }
        assert!(daemon.reload_with(WEB).await.ok);
        assert_eq!(log.of("discarded"), discarded("10.0.2.13:8080"));
    })
    .await;
    host.configure(&WEB.replace("'10.0.2.11:8080', ", ""));
    host.run(async |daemon| drop(daemon.status().await)).await;
    assert_eq!(log.of("discarded"), discarded("10.0.2.11:8080"));
    host.configure(WEB3);
    host.run(async |daemon| {
        let service = daemon.status().await.services.remove(0);
        let admins: Vec<_> = service.backends.iter().map(|backend| backend.admin).collect();
        assert_eq!(admins, [Admin::Enabled, Admin::Drain, Admin::Enabled]);
    })
    .await;
    assert_eq!(log.of("discarded"), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn state_that_cannot_be_saved_is_logged_once_and_once_more_when_it_is_saved() {
    let log = Log::begin();
    let host = Host::new(&format!("{WEB}\nrefresh: 0"));
    let (file, in_the_way) = (host.path("run/backends.json"), host.path("run/backends.json.new"));
    host.run(async |daemon| {
        daemon.status().await;
        fs::create_dir(&in_the_way).unwrap();
        daemon.set("web/10.0.2.11:8080", OverrideChange::Admin(Admin::Drain)).await.unwrap();
        sleep(Duration::from_secs(300)).await;
        let error = format!("write {}: Is a directory (os error 21)", file.display());
        let lost = "a restart loses overrides and health of backends";
        assert_eq!(log.of("backends.json"), [format!("WARN {error} ({lost})")]);
        fs::remove_dir(&in_the_way).unwrap();
        sleep(Duration::from_secs(31)).await;
        daemon.set("web/10.0.2.12:8080", OverrideChange::Admin(Admin::Drain)).await.unwrap();
        assert_eq!(log.of("saved the state"), ["INFO saved the state of backends again"]);
    })
    .await;
}
