//! Which releases are compared.

/// What was resolved when this was built.
const LOCK: &str = include_str!("../Cargo.lock");

/// Every version of a crate that is in the tree: two of `redis`, and of `tower-sessions`.
pub fn of(name: &str) -> String {
    let wanted = format!("name = \"{name}\"");
    let mut lines = LOCK.lines();
    let mut versions = Vec::new();
    while let Some(line) = lines.next() {
        if line == wanted
            && let Some(version) = lines.next().and_then(|line| line.split('"').nth(1))
        {
            versions.push(version);
        }
    }
    versions.join(" and ")
}

/// One line for each crate that is compared or that all stand on.
pub fn print() {
    println!("Versions:");
    for name in [
        "sessile",
        "tower-sessions",
        "tower-sessions-redis-store",
        "axum_session",
        "axum_session_redispool",
        "actix-session",
        "session-guard",
        "axum",
        "actix-web",
        "redis",
        "tokio",
    ] {
        println!("- {name} {}", of(name));
    }
}
