//! As much of a WebDriver client (W3C WebDriver) as these tests need, for ChromeDriver.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::process::Process;

const STARTUP: Duration = Duration::from_secs(20);
/// A browser that does not answer for this long on a busy machine is taken for dead.
const REQUEST: Duration = Duration::from_secs(90);

/// Headless, with stand-ins for camera and microphone, sound without a click, and none of the traffic that
/// a browser causes on its own.
const BROWSER_FLAGS: [&str; 16] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--disable-features=WebRtcHideLocalIpsWithMdns,MediaRouter,OptimizationHints,Translate",
    // Small tiles ask for small pictures, which is what three software encoders on one machine can do.
    "--window-size=640,480",
    "--mute-audio",
];

/// A running ChromeDriver.
#[derive(Debug)]
pub struct Driver {
    url: String,
    agent: ureq::Agent,
    _process: Process,
}

impl Driver {
    /// Starts ChromeDriver on a free port.
    ///
    /// # Panics
    ///
    /// Panics if it does not start.
    pub fn start() -> Driver {
        let process = Process::start(
            "chromedriver",
            Command::new("chromedriver").args(["--port=0", "--log-level=WARNING"]),
        );
        let port: u16 = process.announced(STARTUP, |line| {
            let (_, port) = line.split_once("successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(REQUEST))
            .build()
            .into();
        Driver {
            url: format!("http://127.0.0.1:{port}"),
            agent,
            _process: process,
        }
    }

    /// Starts a browser with a profile of its own.
    ///
    /// # Panics
    ///
    /// Panics if the browser does not start.
    pub fn open(&self) -> Session {
        let reply = post(
            &self.agent,
            &format!("{}/session", self.url),
            &json!({ "capabilities": { "alwaysMatch": {
                "browserName": "chrome",
                "goog:chromeOptions": { "args": BROWSER_FLAGS },
            } } }),
        )
        .unwrap_or_else(|error| panic!("no browser: {error}"));
        let id = reply["sessionId"].as_str().expect("a session has an id");
        Session {
            url: format!("{}/session/{id}", self.url),
            agent: self.agent.clone(),
            process: reply["capabilities"]["goog:processID"]
                .as_u64()
                .and_then(|id| u32::try_from(id).ok())
                .expect("ChromeDriver names the browser's process"),
        }
    }
}

/// One browser with one page. It is closed when this is dropped.
#[derive(Debug)]
pub struct Session {
    url: String,
    agent: ureq::Agent,
    process: u32,
}

impl Session {
    /// Loads a page, and waits until it has loaded.
    ///
    /// # Panics
    ///
    /// Panics if the browser refuses.
    pub fn go_to(&self, url: &str) {
        post(
            &self.agent,
            &format!("{}/url", self.url),
            &json!({ "url": url }),
        )
        .unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    /// Runs the body of a function in the page; a promise is waited for.
    ///
    /// # Panics
    ///
    /// Panics with the page's exception.
    #[track_caller]
    pub fn run(&self, script: &str, arguments: &[Value]) -> Value {
        match post(
            &self.agent,
            &format!("{}/execute/sync", self.url),
            &json!({ "script": script, "args": arguments }),
        ) {
            Ok(value) => value,
            Err(error) => panic!("{script}: {error}"),
        }
    }

    /// Ends the browser at once.
    ///
    /// # Panics
    ///
    /// Panics if it has ended already.
    pub fn kill(self) {
        let process = Pid::from_raw(self.process.cast_signed());
        kill(process, Signal::SIGKILL).expect("the browser runs");
    }

    /// Process id of the browser.
    pub fn process(&self) -> u32 {
        self.process
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // If the browser is gone, so is the session.
        let _ = self.agent.delete(&self.url).call();
    }
}

/// The `value` of a reply, or what WebDriver says went wrong.
fn post(agent: &ureq::Agent, url: &str, body: &Value) -> Result<Value, String> {
    let mut response = agent
        .post(url)
        .content_type("application/json")
        .send(body.to_string())
        .map_err(|error| error.to_string())?;
    let text = response
        .body_mut()
        .read_to_string()
        .map_err(|error| error.to_string())?;
    let mut reply: Value =
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
    if response.status().is_success() {
        Ok(reply["value"].take())
    } else {
        let value = &reply["value"];
        Err(format!("{}: {}", value["error"], value["message"]))
    }
}
