//! Histories through an outage.

use sessile::{EndReason, HistoryEvent};

use super::fixture::{Instance, Network};

/// What was done while Redis was away gets into the history when it gets to Redis: once.
#[tokio::test(flavor = "multi_thread")]
async fn r53_through_an_outage_each_stands_in_the_history_once() {
    let network = Network::start();
    let here = Instance::at(&network.url()).await;
    let sessions = here.layer.sessions();
    let mut leased = here.signed_in("alice").await;
    leased.is("alice").await;
    network.cut_off(&here).await;
    assert!(sessions.history("alice").await.is_err());
    leased.signs_out().await.ok();
    let _local = here.signed_in("alice").await;
    network.reconnect(&here).await;
    let history = sessions.history("alice").await.unwrap();
    let ends = |reason| {
        let is = |event: &HistoryEvent| matches!(event, HistoryEvent::Ended { reason: r, .. } if *r == reason);
        history.iter().filter(|entry| is(&entry.event)).count()
    };
    let sign_ins = history
        .iter()
        .filter(|entry| entry.event == HistoryEvent::SignedIn);
    assert_eq!(
        (sign_ins.count(), ends(EndReason::LoggedOut), history.len()),
        (2, 1, 3)
    );
}
