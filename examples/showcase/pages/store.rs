//! The state of the store, live: a small picture of its latency that moves, and figures.
//!
//! Without JavaScript it is the state at the time of the request, and loads itself again every five seconds.

use std::sync::Arc;

use axum::extract::State;
use maud::{Markup, html};
use sessile::Stats;

use super::look::{Page, instant};
use crate::Server;

pub(super) async fn page(State(server): State<Arc<Server>>) -> Page {
    let stats = server.backend.stats().await;
    let main = html! {
        h1 { "The store" }
        (figures(&server, &stats))
        section aria-labelledby="latency" {
            h2 id="latency" { "Latency" }
            p.about { "The median of the last seconds, in microseconds: " output id="median" { (median(&stats)) } }
            svg.picture viewBox="0 0 300 60" role="img" aria-label="The latency of the last minute" {
                polyline id="line" points="" fill="none" stroke="currentColor" stroke-width="1.5" {}
            }
            noscript { p.about { "The picture moves with JavaScript alone; the figures are those of now." } }
        }
        section aria-labelledby="policy" {
            h2 id="policy" { "What sessions are held to" }
            @for line in stats.policy.describe().lines() { p { (line) } }
        }
        p { a href="/" { "Back to the start page" } }
        script src="/live.js" defer {}
    };
    Page {
        title: "The store · sessile".into(),
        main,
    }
}

fn figures(server: &Server, stats: &Stats) -> Markup {
    let (health, live) = (&stats.health, stats.live);
    let number = |n: Option<u64>| n.map_or("not counted yet".into(), |n| n.to_string());
    html! {
        section aria-labelledby="figures" {
            h2 id="figures" { "Figures" }
            dl {
                dt { "Kept in" } dd { (server.backend.in_words()) }
                dt { "Mode" } dd { span.badge id="mode" { (health.mode.as_str()) } " since " (instant(health.since)) }
                dt { "Sessions" } dd id="user" { (number(live.map(|live| live.user))) }
                dt { "Demo sessions" } dd id="demo" { (number(live.map(|live| live.demo))) }
                dt { "Leases" } dd id="leased" { (health.leases) }
                dt { "Local sessions" } dd id="local" { (health.local) }
                dt { "Waiting for the store" } dd id="pending" { (health.pending) }
                dt { "Open streams" } dd id="watched" { (stats.watched) }
            }
        }
    }
}

fn median(stats: &Stats) -> String {
    let latency = stats.latency.map(|latency| latency.median.as_micros());
    latency.map_or("–".into(), |micros| micros.to_string())
}
