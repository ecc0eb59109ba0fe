//! A page in a browser, as a test sees it.

use std::path::PathBuf;
use std::{env, fs};

use data_encoding::BASE64;
use serde_json::{Value, json};
use sluice_testkit::eventually;

use crate::cdp::Connection;

/// Light or dark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Light,
    Dark,
}

/// The status page, opened.
pub struct Page {
    connection: Connection,
    origin: String,
}

impl Page {
    /// Starts a browser in the network namespace of the calling thread and opens this origin, `http://127.0.0.1:9180`.
    pub fn open(origin: &str) -> Self {
        let mut connection = Connection::start();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            connection.call(&format!("{domain}.enable"), json!({}));
        }
        let mut page = Page { connection, origin: origin.to_owned() };
        page.resize(1280, 900, Scheme::Light);
        page.load("Page.navigate", json!({"url": format!("{origin}/")}));
        page
    }

    /// Loads it again.
    pub fn reload(&mut self) {
        self.load("Page.reload", json!({}));
    }

    /// Has the browser load a document and waits until that has happened.
    fn load(&mut self, method: &str, params: Value) {
        let loaded = |page: &mut Self| {
            page.connection.events().iter().filter(|event| event["method"] == "Page.loadEventFired").count()
        };
        let before = loaded(self);
        self.connection.call(method, params);
        eventually("the page is loaded", || (loaded(self) > before).then_some(()));
    }

    /// Makes the window this large, for a reader who prefers this.
    pub fn resize(&mut self, width: u32, height: u32, scheme: Scheme) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.connection.call("Emulation.setDeviceMetricsOverride", size);
        let value = format!("{scheme:?}").to_lowercase();
        let features = json!([{"name": "prefers-color-scheme", "value": value}]);
        self.connection.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// The value of an expression.
    ///
    /// # Panics
    /// If it throws.
    pub fn value(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.connection.call("Runtime.evaluate", asked);
        assert_eq!(answer["exceptionDetails"], Value::Null, "{expression}");
        answer["result"]["value"].take()
    }

    /// A number that is an expression's value.
    pub fn number(&mut self, expression: &str) -> f64 {
        let value = self.value(expression);
        value.as_f64().unwrap_or_else(|| panic!("{expression} is {value}"))
    }

    /// What a reader sees of the first element that a selector finds.
    ///
    /// # Panics
    /// If it finds none.
    pub fn text(&mut self, selector: &str) -> String {
        let value = self.value(&format!("document.querySelector({selector:?})?.innerText"));
        value.as_str().unwrap_or_else(|| panic!("no {selector} in the page")).to_owned()
    }

    /// Waits until an expression is true.
    pub fn wait_for(&mut self, expression: &str) {
        eventually(expression, || (self.value(expression) == json!(true)).then_some(()));
    }

    /// Waits until a reader sees this text in what a selector finds.
    pub fn wait_for_text(&mut self, selector: &str, text: &str) {
        self.wait_for(&format!(
            "document.querySelector({selector:?})?.innerText.includes({text:?}) ?? false"
        ));
    }

    /// Types into the search box instead of what is there.
    pub fn search(&mut self, words: &str) {
        self.value("document.querySelector('#find').focus(); document.querySelector('#find').select()");
        match words {
            "" => self.press("Delete"),
            _ => drop(self.connection.call("Input.insertText", json!({"text": words}))),
        }
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, None),
            "Enter" => (13, Some("\r")),
            " " => (32, Some(" ")),
            "Delete" => (46, None),
            _ => panic!("no code for {key}"),
        };
        let mut event = json!({"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code});
        if let Some(text) = text {
            event["text"] = json!(text);
        }
        self.connection.call("Input.dispatchKeyEvent", event);
        let event = json!({"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": code});
        self.connection.call("Input.dispatchKeyEvent", event);
    }

    /// Writes what the window shows to `target/browser/NAME.png`.
    pub fn picture(&mut self, name: &str) {
        let shot = self.connection.call("Page.captureScreenshot", json!({"format": "png"}));
        let png = BASE64.decode(shot["data"].as_str().expect("text").as_bytes()).expect("base64");
        let path = pictures().join(format!("{name}.png"));
        fs::write(&path, png).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
    }

    /// Nothing went wrong in the page, and it asked nobody but the daemon.
    ///
    /// # Panics
    /// If it complained, with its complaints, or asked.
    pub fn assert_clean(&mut self) {
        assert_eq!(self.complaints(), Vec::<Value>::new());
        let own = format!("{}/", self.origin);
        let asked = self.requests();
        assert!(asked.iter().any(|url| *url == format!("{own}api/v1/live")), "{asked:?}");
        for url in asked {
            assert!(url.starts_with(&own) || url.starts_with("data:image/svg+xml,"), "asked for {url}");
        }
    }

    /// Errors and warnings that the page and the browser made of it.
    pub fn complaints(&mut self) -> Vec<Value> {
        let bad = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => {
                matches!(event["params"]["type"].as_str(), Some("error" | "warning" | "assert"))
            }
            Some("Log.entryAdded") => {
                matches!(event["params"]["entry"]["level"].as_str(), Some("error" | "warning"))
            }
            _ => false,
        };
        self.connection.events().iter().filter(bad).cloned().collect()
    }

    /// Addresses that were asked for.
    fn requests(&mut self) -> Vec<String> {
        let events = self.connection.events().iter();
        let sent = events.filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| Some(event["params"]["request"]["url"].as_str()?.to_owned())).collect()
    }
}

/// `target/browser`, which is there afterwards.
fn pictures() -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| tests.join("../target"), PathBuf::from);
    let path = target.join("browser");
    fs::create_dir_all(&path).unwrap_or_else(|e| panic!("make {}: {e}", path.display()));
    path
}
