//! A Redis of its own, that hands everything to the operating system before it answers: a killed process loses nothing.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What happens to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Its process is killed, and started again.
    Killed,
    /// Its process stands still, with its connections open, and goes on.
    Stopped,
}

pub(crate) struct Server {
    process: Child,
    port: u16,
    folder: PathBuf,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a port is free")
            .port();
        let folder =
            std::env::temp_dir().join(format!("sessile-outage-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the temporary folder can be written to");
        let server = Self {
            process: spawn(port, &folder),
            port,
            folder,
        };
        server.answers().await;
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub(crate) fn fail(&mut self, fault: Fault) {
        match fault {
            Fault::Killed => {
                self.process.kill().expect("it runs");
                self.process.wait().expect("it was killed");
            }
            Fault::Stopped => self.signal("-STOP"),
        }
    }

    /// When it answered again.
    pub(crate) async fn mend(&mut self, fault: Fault) -> Instant {
        match fault {
            Fault::Killed => {
                self.process = spawn(self.port, &self.folder);
                self.answers().await
            }
            Fault::Stopped => {
                self.signal("-CONT");
                Instant::now()
            }
        }
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.process.id().to_string()])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "kill {signal}");
    }

    async fn answers(&self) -> Instant {
        let client = redis::Client::open(self.url()).expect("the address is one");
        loop {
            if let Ok(mut connection) = client.get_multiplexed_async_connection().await {
                let pong: Result<String, _> = redis::cmd("PING").query_async(&mut connection).await;
                if pong.is_ok() {
                    return Instant::now();
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn spawn(port: u16, folder: &PathBuf) -> Child {
    Command::new("redis-server")
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ])
        .args(["--appendonly", "yes", "--appendfsync", "everysec"])
        .arg("--dir")
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
