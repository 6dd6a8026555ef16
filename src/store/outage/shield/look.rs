//! For those who wait for the end of a session: what the store tells of ends, and what it is asked for.

use futures_util::stream::StreamExt as _;

use super::{Shield, Told};
use crate::id::{Born, Kind, RecordKey};
use crate::record::Entry;
use crate::store::outage::budget::UNBOUNDED;
use crate::store::outage::memory::Course;
use crate::store::{Ends, Heard, Hearing};

impl Shield {
    /// Where the store tells of ends as they happen; `None`: it has to be asked.
    pub(crate) fn ends(&self) -> Option<Ends> {
        self.store.ends()
    }

    /// What the store tells of ends elsewhere; no lease outlives one that was heard.
    pub(crate) fn hear(&self, kind: Kind) -> Option<Hearing> {
        let heard = self.store.hear(kind)?;
        let away = self.away.clone();
        Some(Box::pin(heard.inspect(move |heard| {
            if let (Heard::Ended(key, tombstone), Some(away)) = (heard, &away) {
                let entry = Some(Entry::Ended(tombstone.clone()));
                let now = away.moment();
                away.memory(key.bucket).loaded(key, entry, now.here, now);
            }
        })))
    }

    /// Reads several at once, each as far as it is known now: `None` where it is not.
    pub(crate) async fn look_each(
        &self,
        keys: &[(RecordKey, Option<Born>)],
    ) -> Vec<Option<Told<Option<Entry>>>> {
        let mut found = Vec::new();
        found.resize_with(keys.len(), || None);
        let asks = |(key, born): &(RecordKey, Option<Born>)| match &self.away {
            Some(away) => {
                let (now, up) = (away.moment(), away.part(key.bucket).epoch().is_up());
                let course = away.memory(key.bucket).read(key, up, now);
                born.is_none() && matches!(course, Course::Ask)
            }
            None => true,
        };
        let (plain, others): (Vec<_>, Vec<_>) = (0..keys.len()).partition(|n| asks(&keys[*n]));
        let together: Vec<_> = plain.iter().map(|n| keys[*n]).collect();
        let loaded = match &self.away {
            _ if together.is_empty() => None,
            Some(_) => self.load_in_one_go(&together, &UNBOUNDED).await,
            None => self.load_each(&together, &UNBOUNDED).await.ok(),
        };
        match loaded {
            Some(loaded) => {
                for (n, told) in plain.into_iter().zip(loaded) {
                    found[n] = Some(told);
                }
            }
            // That it failed is for the breaker to know: one of them says it.
            None => {
                if let Some(&n) = plain.first() {
                    found[n] = self.load(keys[n].0, keys[n].1, &UNBOUNDED).await.ok();
                }
            }
        }
        let each = others
            .iter()
            .map(|&n| self.load(keys[n].0, keys[n].1, &UNBOUNDED));
        for (n, told) in others
            .iter()
            .zip(futures_util::future::join_all(each).await)
        {
            found[*n] = told.ok();
        }
        found
    }
}
