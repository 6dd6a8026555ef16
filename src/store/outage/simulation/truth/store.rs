//! What the store does, judged.

use super::*;
impl Truth {
    /// The store has carried a command out.
    pub(in crate::store::outage::simulation) fn executed(
        &mut self,
        server: &Server,
        now: u64,
        command: &Command,
        reply: &Reply,
        sent: u64,
        limit: Option<Limit>,
    ) {
        let contents = &server.contents;
        let is_late = now > sent + 5_000_000;
        match (command, reply) {
            (Command::Create(create), Reply::Created(Created::Created(ended))) => {
                self.count("created");
                if let Some(record) = contents.live(&create.key, instant(now)) {
                    let record = record.clone();
                    self.came_to_be(&create.key, &record, create.held);
                    self.version(&create.key, &record, now);
                }
                if is_late {
                    self.fail(Property::LateChangesNothing, || {
                        format!(
                            "{} was made by a command given up before",
                            create.key.tell()
                        )
                    });
                }
                self.ended_by_limit(ended);
                self.user_is_sound(contents, create.record.user(), now, limit);
            }
            (Command::Replace(replace), Reply::Replaced(Replaced::Replaced { record, ended })) => {
                self.count("replaced");
                let successor = replace.key.sibling(replace.successor);
                if contents.live(&successor, instant(now)).is_some() {
                    self.came_to_be(&successor, record, false);
                    self.version(&successor, record, now);
                }
                self.requested.push(Scope::Key(replace.key));
                self.ended_by_limit(ended);
                self.user_is_sound(contents, record.user(), now, limit);
                if contents.live(&replace.key, instant(now)).is_some() {
                    self.fail(Property::Fixation, || {
                        format!("{} still opens what was replaced", replace.key.tell())
                    });
                }
            }
            (Command::Apply(apply), Reply::Applied(applied)) => {
                let live = contents.live(&apply.key, instant(now)).cloned();
                if let Applied::Saved(_) = applied {
                    self.count("saved");
                    match &live {
                        Some(record) => self.version(&apply.key, record, now),
                        None => self.fail(Property::OnlyCreateCreates, || {
                            format!("{} was saved to and is not there", apply.key.tell())
                        }),
                    }
                    for by in added(&apply.changes) {
                        self.pending.remove(&by);
                        if !self.added.insert(by) {
                            self.fail(Property::AddedOnce, || format!("{by} was added twice"));
                        }
                    }
                }
            }
            (Command::End(_, end), Reply::Ended(ended)) => {
                self.count("ended");
                for session in &ended.sessions {
                    let asked_before = end.before.map_or(sent, clock::micros);
                    let begun = self.begun.get(&session.handle);
                    // Whoever was told of the login after the end was asked for is not ended by it, but for what a
                    // command may take.
                    let is_after = begun
                        .and_then(|begun| begun.committed.map(|_| begun.at))
                        .is_some_and(|at| at > asked_before + 5_000_000);
                    let by_user = matches!(end.scope, EndScope::All(_) | EndScope::Others(..));
                    if is_after && by_user {
                        self.fail(Property::LateChangesNothing, || {
                            format!(
                                "{} was ended by an end that was given up before it began",
                                session.handle
                            )
                        });
                    }
                }
                if let Some(user) = user_of(&end.scope) {
                    self.user_is_sound(contents, Some(user.as_str()), now, limit);
                }
                self.made_good(contents, now);
            }
            (Command::List(bucket, user), Reply::Listed(listed)) => {
                let handles: BTreeSet<_> = listed.iter().map(Record::handle).collect();
                let live = contents.all_live(instant(now));
                let theirs: BTreeSet<_> = live
                    .filter(|(key, record)| {
                        key.bucket == *bucket && record.user() == Some(user.as_str())
                    })
                    .map(|(_, record)| record.handle())
                    .collect();
                if handles != theirs {
                    self.fail(Property::ListIsTruth, || {
                        format!("listed {handles:?}, live {theirs:?}")
                    });
                }
            }
            _ => {}
        }
    }

    /// A record is live in the store that was not.
    fn came_to_be(&mut self, key: &RecordKey, record: &Record, held: bool) {
        self.keys.insert(*key, record.clone());
        let begun = self.begun.get(&record.handle()).map(|begun| begun.at);
        let covering = self.facts.iter().find(|fact| {
            fact.committed
                && !fact.lost
                && (fact.scope.covers(key, record)
                    || matches!((&fact.scope, begun), (Scope::User(user, before, kept), Some(at))
                        if !fact.was_pending
                            && record.user() == Some(user.as_str())
                            && *kept != Some(record.handle())
                            && instant(at) < *before))
        });
        if let Some(fact) = covering {
            let property = match &fact.scope {
                Scope::Key(_) if fact.reason == EndReason::Regenerated => Property::Fixation,
                Scope::User(..) if !held => Property::SinceHolds,
                Scope::Key(_) | Scope::Handle(_) | Scope::User(..) => Property::NotPastRevocation,
            };
            let what = format!("{} came to be after {:?}", key.tell(), fact.scope);
            self.fail(property, || what);
        }
    }

    fn user_is_sound(
        &mut self,
        contents: &Contents,
        user: Option<&str>,
        now: u64,
        limit: Option<Limit>,
    ) {
        let Some(user) = user.map(UserId::from) else {
            return;
        };
        let members: BTreeSet<_> = contents.members(&user).into_iter().collect();
        let live = contents
            .all_live(instant(now))
            .filter(|(_, record)| record.user() == Some(user.as_str()));
        let mut count = 0;
        let mut stray = None;
        for (key, _) in live {
            count += 1;
            if !members.contains(&key.digest) {
                stray = Some(*key);
            }
        }
        if let Some(key) = stray {
            self.fail(Property::ListIsTruth, || {
                format!("{} lives and is in no list", key.tell())
            });
        }
        if limit.is_some_and(|limit| count > limit.sessions.get()) {
            self.fail(Property::LimitHolds, || {
                format!("{user} has {count} sessions")
            });
        }
    }
}
