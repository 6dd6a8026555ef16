//! Two lists of words in a session: one that comes along at signing in, and one that does not.

use axum::extract::{Form, Path};
use axum::http::StatusCode;
use axum::response::Redirect;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use sessile::{ErrorKind, Key, Session};

use super::home_again;
use crate::problems::Refusal;

/// The longest item, in characters.
const LONGEST: usize = 100;

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum List {
    Cart,
    Notes,
}

/// What somebody may have put there through the API is any JSON: as its text, it is shown and left as it came.
type Content = Box<RawValue>;

/// The list of words that the pages make of it; `None`: it is something else.
fn items(content: &RawValue) -> Option<Vec<String>> {
    serde_json::from_str(content.get()).ok()
}

impl List {
    const fn key(self) -> Key<Content> {
        match self {
            // The same value as `identity::CART`, which a login keeps.
            Self::Cart => Key::new("cart"),
            Self::Notes => Key::new("notes"),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Cart => "cart",
            Self::Notes => "notes",
        }
    }

    fn is_no_list(self) -> Refusal {
        let message = format!(
            "What was set as {} through the API is no list of texts. It stays as it is.",
            self.name()
        );
        Refusal::new(StatusCode::CONFLICT, "no_list", message)
    }
}

#[derive(Deserialize)]
pub(super) struct Item {
    item: String,
}

pub(super) async fn add(
    session: Session,
    Path(list): Path<List>,
    Form(form): Form<Item>,
) -> Result<Redirect, Refusal> {
    let item = form.item.trim();
    if item.is_empty() || item.chars().count() > LONGEST {
        return Err(Refusal::invalid(format!(
            "An item has 1 to {LONGEST} characters."
        )));
    }
    change(&session, list, |items| items.push(item.to_owned())).await
}

pub(super) async fn remove(
    session: Session,
    Path(list): Path<List>,
    Form(form): Form<Item>,
) -> Result<Redirect, Refusal> {
    let removed = change(&session, list, |items| {
        if let Some(at) = items.iter().position(|item| *item == form.item) {
            items.remove(at);
        }
    });
    match removed.await {
        // The session ended before this form was sent: there is nothing to remove, and the next page says why.
        Err(Refusal::Session(error)) if error.kind() == ErrorKind::SessionEnded => Ok(home_again()),
        other => other,
    }
}

/// With `update`, and not `get` and `insert`: of two tabs that add at once, none loses its item.
async fn change(
    session: &Session,
    list: List,
    mut edit: impl FnMut(&mut Vec<String>) + Send,
) -> Result<Redirect, Refusal> {
    // Asked before, because an update always writes.
    let there = session.get(list.key())?;
    if there.is_some_and(|content| items(&content).is_none()) {
        return Err(list.is_no_list());
    }
    let content = session.update(list.key(), move |content| {
        let mut words = match content {
            None => Vec::new(),
            Some(content) => match items(&content) {
                Some(words) => words,
                // Put there just now. It stays what it is.
                None => return content,
            },
        };
        edit(&mut words);
        to_raw_value(&words).expect("a list of texts is JSON")
    });
    match items(&content.await?) {
        Some(_) => Ok(home_again()),
        None => Err(list.is_no_list()),
    }
}

/// The list with its forms.
pub(super) fn section(session: &Session, list: List, title: &str, about: &str) -> Markup {
    let name = list.name();
    let content = session.get(list.key());
    html! {
        section aria-labelledby=(name) {
            h2 id=(name) { (title) }
            p.about { (about) }
            @match content {
                Ok(None) => p.empty { "Nothing yet." },
                Ok(Some(content)) => @match items(&content) {
                    Some(items) if items.is_empty() => p.empty { "Nothing yet." },
                    Some(items) => ul.items {
                        @for item in &items { li {
                            span { (item) }
                            form method="post" action={ "/list/" (name) "/remove" } {
                                button.quiet name="item" value=(item) aria-label={ "Remove " (item) } { "Remove" }
                            }
                        } }
                    },
                    None => p.empty { "Set through the API: " code { (content.get()) } },
                },
                Err(_) => p.empty { "What is here could not be read." },
            }
            form.line method="post" action={ "/list/" (name) "/add" } {
                label for={ (name) "-item" } { "Add to " (name) }
                input id={ (name) "-item" } name="item" required maxlength=(LONGEST) autocomplete="off";
                button { "Add" }
            }
        }
    }
}
