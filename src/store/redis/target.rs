use redis::ConnectionInfo;
use std::time::Duration;
pub(super) enum Target {
    Server(ConnectionInfo),
}
pub(super) struct Reach {
    pub(super) target: Target,
    pub(super) connections: u32,
    pub(super) checkout: Duration,
    pub(super) command: Duration,
    pub(super) connect: Duration,
}
