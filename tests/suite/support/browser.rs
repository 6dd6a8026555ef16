//! A real browser, without a window: Chromium, driven through chromedriver.

use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use tempfile::TempDir;

/// A running chromedriver on a port of its own; it, and every browser that it started, ends with this.
pub(crate) struct Driver {
    child: Child,
    url: String,
    chromium: PathBuf,
    /// Of all its browsers. A field, and so removed after they are ended, and write no more.
    profiles: TempDir,
}

impl Driver {
    pub(crate) fn start() -> Self {
        let chromium = installed("chromium");
        let mut child = Command::new(installed("chromedriver"))
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let stdout = BufReader::new(child.stdout.take().expect("its stdout is piped"));
        let port: u16 = stdout
            .lines()
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, port) = line.split_once("started successfully on port ")?;
                port.trim_end_matches('.').parse().ok()
            })
            .expect("chromedriver says on which port it is");
        Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
            chromium,
            profiles: tempfile::tempdir().expect("a temporary folder can be made"),
        }
    }

    /// A browser on a large screen, with a profile of its own.
    pub(crate) async fn browser(&self) -> Browser {
        self.connect(None, "--blink-settings=preferredColorScheme=1")
            .await
    }

    /// A browser on a phone, with a profile of its own, whose owner likes the dark.
    pub(crate) async fn phone(&self) -> Browser {
        let screen = json!({ "deviceMetrics": { "width": 390, "height": 844, "pixelRatio": 2, "touch": true } });
        self.connect(Some(screen), "--blink-settings=preferredColorScheme=0")
            .await
    }

    async fn connect(&self, screen: Option<serde_json::Value>, colours: &str) -> Browser {
        let profile = tempfile::tempdir_in(self.profiles.path())
            .expect("a temporary folder can be made")
            .keep();
        let mut args = vec![
            "--headless=new".to_owned(),
            "--disable-gpu".into(),
            "--disable-quic".into(),
            "--disable-dev-shm-usage".into(),
            "--disable-background-networking".into(),
            "--disable-component-update".into(),
            "--disable-sync".into(),
            "--no-first-run".into(),
            "--hide-scrollbars".into(),
            "--window-size=1280,1000".into(),
            colours.into(),
            format!("--user-data-dir={}", profile.display()),
        ];
        if is_root() {
            // Chromium refuses its sandbox to root, which is who runs in most containers.
            args.push("--no-sandbox".into());
        }
        let mut options = json!({ "binary": self.chromium, "args": args });
        if let Some(screen) = screen {
            options["mobileEmulation"] = screen;
        }
        let capabilities = [("goog:chromeOptions".to_owned(), options)];
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.into_iter().collect())
            .connect(&self.url)
            .await
            .expect("chromium starts (`make install` gets it)");
        Browser { client }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Its browsers are of process groups of their own: it ends them itself, if it is asked to. That is what a test
        // relies on that failed before it closed them.
        let _ = ureq::get(format!("{}/shutdown", self.url))
            .config()
            .timeout_global(Some(Duration::from_secs(10)))
            .build()
            .call();
        let began = Instant::now();
        while let Ok(None) = self.child.try_wait()
            && began.elapsed() < Duration::from_secs(10)
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A browser.
pub(crate) struct Browser {
    client: Client,
}

impl Browser {
    /// Its version, as it says itself.
    pub(crate) fn version(&self) -> String {
        self.client
            .capabilities()
            .and_then(|capabilities| capabilities.get("browserVersion")?.as_str())
            .expect("a browser says its version")
            .to_owned()
    }

    /// Puts a picture of the page into `target/screenshots`.
    pub(crate) async fn picture(&self, name: &str) {
        let png = self.client.screenshot().await.expect("a page has a look");
        let folder = std::env::current_exe()
            .ok()
            .and_then(|test| {
                test.ancestors()
                    .nth(3)
                    .map(|target| target.join("screenshots"))
            })
            .expect("a test is three folders below the target folder");
        fs::create_dir_all(&folder).expect("a folder can be made");
        fs::write(folder.join(format!("{name}.png")), png).expect("a picture can be kept");
    }

    /// Closes it in an orderly way.
    pub(crate) async fn close(self) {
        self.client.close().await.expect("a browser closes");
    }
}

impl Deref for Browser {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

fn installed(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .unwrap_or_else(|| {
            panic!("{program} is not installed, and this test needs it: `make install` gets it")
        })
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("`id` runs");
    id.stdout.trim_ascii() == b"0"
}
