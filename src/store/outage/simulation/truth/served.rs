//! What an instance answers, judged; and what is left at rest.

use super::*;
impl Truth {
    /// An instance has answered one of its requests.
    pub(in crate::store::outage::simulation) fn answered(
        &mut self,
        at: usize,
        instance: &Instance,
        now: u64,
        call: &Call,
        answer: &Answer,
    ) {
        match (&call.ask, answer) {
            (Ask::Load(key, _), Answer::Loaded(Some(Entry::Live(record)), freshness)) => {
                match freshness {
                    Freshness::Live => {
                        self.verified.insert((at, *key), call.sent);
                    }
                    Freshness::Stale => self.leased(at, instance, key, record, now),
                    Freshness::Local => self.served_local(key, now),
                }
                self.served(at, instance, key, record, *freshness, call.sent, now);
            }
            (Ask::Load(key, _), Answer::Loaded(entry, _)) => {
                self.signed_out(instance, key, entry.as_ref(), call, now);
            }
            (Ask::Create(create), Answer::Created(Created::Created(ended), freshness)) => {
                let handle = create.record.handle();
                self.ended_by_limit(ended);
                if *freshness == Freshness::Live {
                    self.verified.insert((at, create.key), call.sent);
                    self.over_limit(at, instance, ended, now);
                    if let Some(begun) = self.begun.get_mut(&handle) {
                        begun.committed = Some(now);
                    }
                    if !self.keys.contains_key(&create.key) {
                        self.fail(Property::StoredBeforeTold, || {
                            format!("{} was told to be made", create.key.tell())
                        });
                    }
                } else {
                    self.count("local");
                    self.was_local.insert(create.key);
                    self.local
                        .insert(create.key, (at, now, create.record.clone()));
                    if !is_here(instance, &create.key) {
                        self.fail(Property::StoredBeforeTold, || {
                            format!("{} is not even here", create.key.tell())
                        });
                    }
                }
            }
            (Ask::Replace(replace), Answer::Replaced(Replaced::Replaced { record, ended }, f)) => {
                let successor = replace.key.sibling(replace.successor);
                self.ended_by_limit(ended);
                if *f == Freshness::Live {
                    self.verified.insert((at, successor), call.sent);
                    self.over_limit(at, instance, ended, now);
                    let by = Some((at, instance.number));
                    self.fact(
                        Scope::Key(replace.key),
                        EndReason::Regenerated,
                        by,
                        true,
                        now,
                    );
                    if !self.keys.contains_key(&successor) {
                        self.fail(Property::StoredBeforeTold, || {
                            format!("{} was told to be made", successor.tell())
                        });
                    }
                    if matches!(replace.renewal, Renewal::SignIn(_))
                        && let Some(begun) = self.begun.get_mut(&record.handle())
                    {
                        begun.committed = Some(now);
                    }
                } else {
                    self.count("replaced here");
                    self.requested.push(Scope::Key(replace.key));
                    let made = match self.local.get(&replace.key) {
                        Some((_, made, _)) => Some(*made),
                        // One that was made here, and is not followed since another server answers, is as old as it was:
                        // it may not get there in time.
                        None => (!self.was_local.contains(&replace.key)).then_some(now),
                    };
                    self.was_local.insert(successor);
                    if let Some(made) = made {
                        self.local.insert(successor, (at, made, record.clone()));
                    }
                    if !is_here(instance, &successor) {
                        self.fail(Property::StoredBeforeTold, || {
                            format!("{} is not even here", successor.tell())
                        });
                    }
                }
            }
            (Ask::Apply(apply, _), Answer::Applied(Applied::Saved(_), freshness)) => {
                match freshness {
                    Freshness::Live => {
                        for by in added(&apply.changes) {
                            if !self.added.contains(&by) {
                                self.fail(Property::StoredBeforeTold, || {
                                    format!("{by} was told to be added")
                                });
                            }
                        }
                    }
                    Freshness::Stale => {
                        self.count("staged");
                        for by in added(&apply.changes) {
                            self.pending.insert(by, (at, apply.key));
                        }
                        if !instance.memory.staged.has(&apply.key) && !self.is_asked_for(&apply.key)
                        {
                            self.fail(Property::StoredBeforeTold, || {
                                format!("what was written to {} is gone", apply.key.tell())
                            });
                        }
                    }
                    Freshness::Local => {
                        if !is_here(instance, &apply.key) {
                            self.fail(Property::StoredBeforeTold, || {
                                format!("{} is not even here", apply.key.tell())
                            });
                        }
                    }
                }
            }
            (Ask::End(end, known), Answer::Ended(ended, freshness)) => {
                let committed = *freshness == Freshness::Live;
                if !committed {
                    self.count("ended here");
                }
                let by = Some((at, instance.number));
                let mut fact = |scope| self.fact(scope, end.reason, by, committed, now);
                match &end.scope {
                    EndScope::One(key, _) | EndScope::Unborn(key) => {
                        fact(Scope::Key(*key));
                        let known = known.as_ref().filter(|_| !committed);
                        if let Some(record) = ended.last.as_ref().or(known)
                            && record.user().is_some()
                        {
                            fact(Scope::Handle(record.handle()));
                        }
                    }
                    EndScope::Handle(_, handle) => fact(Scope::Handle(*handle)),
                    EndScope::Others(user, kept) => {
                        let since = ended.since.unwrap_or(instance.clocks.floor);
                        fact(Scope::User(user.clone(), since, Some(*kept)));
                    }
                    EndScope::All(user) => {
                        let since = ended.since.unwrap_or(instance.clocks.floor);
                        fact(Scope::User(user.clone(), since, None));
                    }
                }
            }
            (Ask::List(..), Answer::Listed(records)) => {
                let by = Some((at, instance.number));
                let own = self.facts.iter().filter(|fact| {
                    fact.by == by && fact.acknowledged <= call.sent && !fact.committed
                });
                let nowhere = RecordKey {
                    kind: crate::id::Kind::User,
                    bucket: 0.into(),
                    digest: crate::id::Digest::from_bytes([0; 32]),
                };
                let listed = own
                    .filter(|fact| !matches!(fact.scope, Scope::Key(_)))
                    .find_map(|fact| {
                        let covers = |record: &&Record| fact.scope.covers(&nowhere, record);
                        records.iter().find(covers)
                    });
                if let Some(record) = listed.map(Record::handle) {
                    self.fail(Property::ListIsTruth, || {
                        format!("{record} is listed by who has ended it")
                    });
                }
            }
            _ => {}
        }
    }

    /// What a lease shows.
    fn leased(
        &mut self,
        at: usize,
        instance: &Instance,
        key: &RecordKey,
        record: &Record,
        now: u64,
    ) {
        self.count("stale");
        let Some(verified) = self.verified.get(&(at, *key)).copied() else {
            return self.fail(Property::LeaseEnds, || {
                format!("{} was never read here", key.tell())
            });
        };
        if now - verified > micros(LEASE) {
            self.fail(Property::LeaseEnds, || {
                format!("{} was read {} µs ago", key.tell(), now - verified)
            });
        }
        if instance.memory.staged.has(key) {
            return;
        }
        let Some(versions) = self.versions.get(key) else {
            return;
        };
        let ends = versions.iter().skip(1).map(|version| version.from);
        let ends = ends.chain([u64::MAX]);
        let within: Vec<_> = versions
            .iter()
            .zip(ends)
            .filter(|(_, until)| *until >= verified)
            .map(|(version, _)| version)
            .collect();
        let (v, n) = (record.value("v"), record.value("n"));
        let is_true = within.iter().any(|version| version.v.as_deref() == v)
            && within.iter().any(|version| version.n.as_deref() == n);
        if !is_true {
            self.fail(Property::LeaseIsTrue, || {
                format!("{} never had {v:?}, {n:?} since it was read", key.tell())
            });
        }
    }

    fn served_local(&mut self, key: &RecordKey, now: u64) {
        self.count("read here");
        if let Some((_, made, _)) = self.local.get(key)
            && now - made > micros(LOCAL_TTL) + 1
        {
            self.fail(Property::NotPastRevocation, || {
                format!("{} is served for too long", key.tell())
            });
        }
    }

    /// An instance serves a session to a request whose read began at `sent`.
    #[expect(clippy::too_many_arguments, reason = "all that is known of an answer")]
    fn served(
        &mut self,
        at: usize,
        instance: &Instance,
        key: &RecordKey,
        record: &Record,
        freshness: Freshness,
        sent: u64,
        now: u64,
    ) {
        self.count("served");
        let me = Some((at, instance.number));
        let found = self.facts.iter().find_map(|fact| {
            if fact.acknowledged > sent || !fact.scope.covers(key, record) {
                return None;
            }
            let is_forgotten = now - fact.acknowledged > micros(REMEMBERED);
            let is_mine = fact.by == me && !(is_forgotten && fact.lost);
            let is_gone =
                freshness == Freshness::Live && fact.committed && fact.since <= sent && !fact.lost;
            let is_key = matches!(fact.scope, Scope::Key(_));
            match (is_mine, is_gone) {
                (true, _) => Some((Property::NotAcceptedAgain, fact)),
                (false, true) if is_key && fact.reason == EndReason::Regenerated => {
                    Some((Property::Fixation, fact))
                }
                (false, true) => Some((Property::EndedIsEnded, fact)),
                (false, false) => None,
            }
        });
        if let Some((property, fact)) = found {
            let what = format!("{} is served after {:?}", key.tell(), fact.scope);
            self.fail(property, || what);
        }
    }

    /// A request was told that its session is over, or none.
    fn signed_out(
        &mut self,
        instance: &Instance,
        key: &RecordKey,
        entry: Option<&Entry>,
        call: &Call,
        now: u64,
    ) {
        match &call.read {
            // The store said so itself.
            Some(None | Some(Entry::Ended(_))) => {
                self.over.insert(*key);
                return;
            }
            Some(Some(Entry::Live(_))) | None => {}
        }
        let reason = match entry {
            Some(Entry::Ended(tombstone)) => Some(tombstone.end.reason),
            Some(Entry::Live(_)) | None => None,
        };
        let is_by_clock = self
            .keys
            .get(key)
            .is_none_or(|record| record.end_at(instant(now)).is_some());
        let is_asked_for = match self.keys.get(key) {
            Some(record) => self.requested.iter().any(|scope| scope.covers(key, record)),
            None => true,
        } || self.over.contains(key);
        let is_true = match reason {
            Some(EndReason::Idle | EndReason::Absolute) => is_by_clock,
            Some(EndReason::Limit | EndReason::LoggedOut | EndReason::Revoked) => is_asked_for,
            Some(EndReason::Regenerated) => is_asked_for,
            // Refused when it was to be promoted.
            Some(EndReason::StoreLost) => self.was_local.contains(key),
            None => false,
        };
        if !is_true {
            let up = instance.epoch().up;
            self.fail(Property::AwayIsNotAbsent, || {
                format!("{} is told to be over ({reason:?}); up: {up}", key.tell())
            });
        }
    }

    /// All has been well for a while.
    pub(in crate::store::outage::simulation) fn at_rest(
        &mut self,
        instances: &[Instance],
        server: &Server,
        now: u64,
    ) {
        for (at, instance) in instances.iter().enumerate() {
            let due = instance.memory.due(|_| true).len();
            let ends = instance.journal.len();
            let is_up = instance.epoch().up;
            if due > 0 || ends > 0 || !is_up || !instance.is_idle() {
                self.fail(Property::Terminates, || {
                    format!(
                        "i{at}: {due} due, {ends} ends, up: {is_up}, {} calls, {} carries, {} sweeps",
                        instance.calls.len(),
                        instance.carries.len(),
                        instance.sweeps.len()
                    )
                });
            }
            let me = Some((at, instance.number));
            let open = self.facts.iter().find(|fact| {
                fact.by == me
                    && now - fact.acknowledged < micros(REMEMBERED)
                    && !fact.holds(&server.contents, instant(now))
                    && !(self.lost_at > 0
                        && fact.is_past(&server.contents, instant(now), &self.was_local))
            });
            if let Some(scope) = open.map(|fact| fact.scope.clone()) {
                self.fail(Property::Terminates, || {
                    format!("i{at} acknowledged {scope:?}, and the store does not know")
                });
            }
        }
        let contents = &server.contents;
        let arrived = |key: &RecordKey| contents.entries.contains_key(key);
        let lost = self.local.iter().find(|(key, (_, made, record))| {
            !arrived(key)
                && now - made < micros(LOCAL_TTL) / 2
                && !self.requested.iter().any(|scope| scope.covers(key, record))
        });
        if let Some((key, _)) = lost {
            let key = *key;
            let is_gone = self.requested.len();
            self.fail(Property::PendingArrives, || {
                format!("{} never got to the store ({is_gone})", key.tell())
            });
        }
        let lost = self
            .pending
            .iter()
            .find(|(_, (_, key))| contents.live(key, instant(now)).is_some());
        if let Some((by, (_, key))) = lost {
            let (by, key) = (*by, *key);
            self.fail(Property::PendingArrives, || {
                format!("{by} was never added to {}, and nobody says so", key.tell())
            });
        }
    }
}
