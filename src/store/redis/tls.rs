use redis::ConnectionInfo;
#[derive(Default)]
pub(super) struct Certificates {
    pub(super) root: Option<Vec<u8>>,
    pub(super) client: Option<(Vec<u8>, Vec<u8>)>,
}
impl Certificates {
    pub(super) fn put_into(
        &self,
        i: ConnectionInfo,
    ) -> Result<ConnectionInfo, crate::error::ConfigError> {
        Ok(i)
    }
}
