//! Reading a session: from a copy, from the store, or as this instance knows it.

use super::{Shield, Told};
use crate::id::{Born, RecordKey};
use crate::record::Entry;
use crate::store::StoreError;
use crate::store::outage::budget::Budget;
use crate::store::outage::memory::Course;

impl Shield {
    /// A session as a store in this process has it, at once; `None`: it has to be [loaded](Self::load).
    pub(crate) fn load_now(&self, key: &RecordKey) -> Option<Told<Option<Entry>>> {
        match self.away {
            Some(_) => None,
            None => self.store.load_now(key).map(Told::live),
        }
    }

    /// A session as a near cache has it, at once; `None`: it has to be [loaded](Self::load).
    pub(crate) fn near(&self, key: &RecordKey, born: Option<Born>) -> Option<Told<Option<Entry>>> {
        if born.is_some() {
            return None;
        }
        let entry = match &self.away {
            Some(away) => {
                away.watch();
                let near = away
                    .part(key.bucket)
                    .epoch()
                    .is_up()
                    .then(|| self.store.near(key))??;
                let now = away.moment();
                let mut memory = away.memory(key.bucket);
                // What the store is owed of it, and what is local, comes first.
                if !matches!(memory.read(key, true, now), Course::Ask) {
                    return None;
                }
                // A lease is as old as what is certain.
                let sent = now.here.before(near.age);
                let entry = memory.loaded(key, Some(Entry::Live(near.record)), sent, now);
                drop(memory);
                away.told(key, entry)
            }
            None => Some(Entry::Live(self.store.near(key)?.record)),
        };
        Some(Told {
            is_near: true,
            ..Told::live(entry)
        })
    }

    /// Reads a session. `born`: what its id says of its birth.
    pub(crate) async fn load(
        &self,
        key: RecordKey,
        born: Option<Born>,
        budget: &Budget,
    ) -> Result<Told<Option<Entry>>, StoreError> {
        let Some(away) = &self.away else {
            return budget.wait(self.store.load(key)).await.map(Told::live);
        };
        away.watch();
        let part = away.part(key.bucket);
        let mut now = away.moment();
        let mut sent = part.epoch();
        let mut course = away.memory(key.bucket).read(&key, sent.is_up(), now);
        if matches!(course, Course::First) {
            // Boxed, for it is rare, and every handler's future would have room for it.
            sent = Box::pin(away.bring(&key, &part, budget)).await;
            now = away.moment();
            course = away.memory(key.bucket).read(&key, sent.is_up(), now);
        }
        match course {
            Course::Here(entry, here) => {
                return Ok(Told::here(away.told(&key, Some(entry)), here));
            }
            Course::First | Course::Away => return Err(away.error()),
            Course::Ask => {}
        }
        let error = match budget.wait(self.store.load(key)).await {
            Ok(entry) => {
                part.answered(sent);
                // By when it was sent: nothing here is later for it, and the clocks cost more than the rest.
                let entry = away.memory(key.bucket).loaded(&key, entry, now.here, now);
                let entry = away.told(&key, entry);
                return match (entry, born) {
                    (None, Some(born)) => away.foreign(born).map(Told::live),
                    (entry, _) => Ok(Told::live(entry)),
                };
            }
            Err(error) => error,
        };
        away.failed(&part, sent, &error);
        let now = away.moment();
        let course = away.memory(key.bucket).read(&key, false, now);
        match course {
            Course::Here(entry, here) => Ok(Told::here(away.told(&key, Some(entry)), here)),
            Course::Ask | Course::First | Course::Away => Err(error),
        }
    }

    /// Reads several: twin cookies.
    pub(crate) async fn load_each(
        &self,
        keys: &[(RecordKey, Option<Born>)],
        budget: &Budget,
    ) -> Result<Vec<Told<Option<Entry>>>, StoreError> {
        if self.away.is_none() {
            let keys: Vec<_> = keys.iter().map(|(key, _)| *key).collect();
            let entries = budget.wait(self.store.load_each(&keys)).await?;
            return Ok(entries.into_iter().map(Told::live).collect());
        }
        if let Some(loaded) = self.load_in_one_go(keys, budget).await {
            return Ok(loaded);
        }
        // One of them is not to be had from the store, or all are: each is known in its own way.
        let loads = keys
            .iter()
            .map(|(key, born)| self.load(*key, *born, budget));
        let loaded = futures_util::future::join_all(loads).await;
        // One that opens a session is enough.
        let opens = |told: &Result<Told<Option<Entry>>, StoreError>| matches!(told, Ok(told) if matches!(told.value, Some(Entry::Live(_))));
        if loaded.iter().any(opens) {
            return Ok(loaded
                .into_iter()
                .map(|told| told.unwrap_or_else(|_| Told::live(None)))
                .collect());
        }
        loaded.into_iter().collect()
    }

    /// Several, where nothing stands between them and the store.
    pub(super) async fn load_in_one_go(
        &self,
        keys: &[(RecordKey, Option<Born>)],
        budget: &Budget,
    ) -> Option<Vec<Told<Option<Entry>>>> {
        let away = self.away.as_ref()?;
        away.watch();
        let now = away.moment();
        let parts: Vec<_> = keys.iter().map(|(key, _)| away.part(key.bucket)).collect();
        let sent: Vec<_> = parts.iter().map(|part| part.epoch()).collect();
        let asks = keys.iter().zip(&sent).all(|((key, born), sent)| {
            let course = away.memory(key.bucket).read(key, sent.is_up(), now);
            born.is_none() && matches!(course, Course::Ask)
        });
        if !asks {
            return None;
        }
        let plain: Vec<_> = keys.iter().map(|(key, _)| *key).collect();
        let entries = budget.wait(self.store.load_each(&plain)).await.ok()?;
        let then = away.moment();
        let loaded = plain.iter().zip(entries).map(|(key, entry)| {
            let entry = away.memory(key.bucket).loaded(key, entry, now.here, then);
            Told::live(away.told(key, entry))
        });
        Some(loaded.collect())
    }
}
