//! The start page: for strangers, and for users.

use maud::{Markup, html};
use sessile::{Session, SessionInfo, UserSession};

use super::list::{self, List};
use super::look::{Page, from_now, instant_and_distance};
use super::refused::notice;
use crate::Server;

pub(super) fn for_strangers(server: &Server, session: &Session, cookie_lost: bool) -> Page {
    let main = html! {
        h1 { "Sign in" }
        @if let Some(end) = session.end() { (notice(&end)) }
        @if cookie_lost { (lost_cookie(server, "You signed in")) }
        form.card method="post" action="/sign-in" {
            label for="user" { "Your name" }
            input id="user" name="user" required maxlength="256" autocomplete="username" autocapitalize="none" spellcheck="false";
            label.check { input type="checkbox" name="remember" value="yes"; span { "Remember me on this device" } }
            button { "Sign in" }
        }
        (demo())
        (lists(session))
        (facts(server, session.info().as_ref()))
    };
    Page {
        title: "Sign in · sessile".into(),
        main,
    }
}

pub(super) fn for_users(server: &Server, user: &UserSession, devices: &[SessionInfo]) -> Page {
    let main = html! {
        h1 { "Hello " (user.user_id()) }
        div.actions {
            form method="post" action="/sign-out" { button { "Sign out" } }
            form method="post" action="/regenerate" { button.quiet { "Change this session’s id" } }
            a.button href="/security" { "Security and history" }
        }
        (sessions(devices))
        (demo())
        (lists(user))
        (facts(server, user.info().as_ref()))
    };
    Page {
        title: format!("{} · sessile", user.user_id()),
        main,
    }
}

/// What somebody did worked, and yet nothing is there: the browser did not keep the cookie.
pub(super) fn lost_cookie(server: &Server, did: &str) -> Markup {
    html! {
        div.notice.bad role="alert" {
            p { strong { (did) ", but your browser did not keep the cookie." } }
            @if server.options.insecure_cookies {
                p { "It may refuse all cookies of this site." }
            } @else {
                p {
                    "The cookie is " code { "Secure" } ". Without https, most browsers keep it for "
                    code { "localhost" } " alone, and Safari not even there. Use another browser, serve https, or start with "
                    code { "--insecure-cookies" } "."
                }
            }
        }
    }
}

fn sessions(devices: &[SessionInfo]) -> Markup {
    html! {
        section aria-labelledby="devices" {
            h2 id="devices" { "Your sessions" }
            ul.devices {
                @for device in devices {
                    li.current[device.current] {
                        div {
                            p {
                                strong { (device.user_agent.as_deref().map_or("An unknown browser".into(), device_name)) }
                                @if device.current { " " span.badge { "this one" } }
                            }
                            p.about {
                                (device.address.as_deref().unwrap_or("unknown address"))
                                " · last seen " (from_now(device.last_seen_at))
                                " · signed in " (from_now(device.created_at))
                            }
                        }
                        @if !device.current {
                            form method="post" action="/sessions/end" {
                                button.quiet name="handle" value=(device.handle)
                                    aria-label={ "End the session last seen " (humantime::format_rfc3339_seconds(device.last_seen_at)) }
                                    { "End" }
                            }
                        }
                    }
                }
            }
            @if devices.len() > 1 {
                form.below method="post" action="/sessions/end-others" { button.quiet { "End all others" } }
            }
        }
    }
}

/// A name that people know, out of what browsers say they are. The order matters: most also name the others.
fn device_name(agent: &str) -> String {
    let find = |marks: &[(&str, &'static str)]| {
        marks
            .iter()
            .find_map(|(mark, name)| agent.contains(mark).then_some(*name))
    };
    let browser = find(&[
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ]);
    let system = find(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Mac OS X", "Mac"),
        ("Windows", "Windows"),
        ("Linux", "Linux"),
    ]);
    match (browser, system) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser.into(),
        (None, _) => agent.into(),
    }
}

/// Whether there is one is not asked here: that would cost a store call.
fn demo() -> Markup {
    html! {
        section aria-labelledby="demo" {
            h2 id="demo" { "Demo" }
            p.about { "A conversation in a session of its own, with this one or without one." }
            a.button.quiet href="/demo" { "Go to the demo" }
        }
    }
}

fn lists(session: &Session) -> Markup {
    html! {
        div.columns {
            (list::section(session, List::Cart, "Cart", "Comes along when you sign in."))
            (list::section(session, List::Notes, "Notes", "Stay behind when you sign in or out."))
        }
    }
}

fn facts(server: &Server, info: Option<&SessionInfo>) -> Markup {
    let kind = match info {
        None => "none: nothing is stored for you",
        Some(info) if info.user.is_none() => "anonymous",
        Some(_) => "a user’s",
    };
    html! {
        section aria-labelledby="session" {
            h2 id="session" { "This session" }
            dl {
                dt { "Kind" } dd { (kind) }
                @if let Some(info) = info {
                    @if let Some(user) = &info.user { dt { "User" } dd { (user) } }
                    dt { "Handle" } dd { code { (info.handle) } }
                    dt { "Made" } dd { (instant_and_distance(info.created_at)) }
                    dt { "Ends" } dd { (instant_and_distance(info.ends_at)) }
                    dt { "Ends if unused" } dd { (instant_and_distance(info.idle_ends_at)) }
                    dt { "Read from" } dd { (info.freshness.as_str()) }
                }
                dt { "Kept in" } dd { (server.backend.in_words()) " (" a href="/store" { "how it does" } ")" }
                dt { "Cookie" } dd { code { (cookie(server, info)) } }
            }
        }
    }
}

/// The cookie's name and attributes as they are in force; never its value.
fn cookie(server: &Server, info: Option<&SessionInfo>) -> String {
    let (name, secure) = if server.options.insecure_cookies {
        ("session", "")
    } else {
        ("__Host-session", "; Secure")
    };
    let age = if info.is_some_and(|info| info.persistent) {
        "; Max-Age until its end"
    } else {
        ""
    };
    format!("{name}; HttpOnly; SameSite=Lax{secure}; Path=/{age}")
}
