//! Two lists of words in a session: one that comes along at signing in, and one that does not.

use axum::extract::{Form, Path};
use axum::response::Redirect;
use maud::{Markup, html};
use serde::{Deserialize, Serialize};
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

/// What somebody may have put there through the API is any JSON; a list of words is what the pages make of it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Content {
    Items(Vec<String>),
    Other(serde_json::Value),
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
}

#[derive(Deserialize)]
pub(super) struct Item {
    item: String,
}

/// With `update`, and not `get` and `insert`: of two tabs that add at once, none loses its item.
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
    let added = session.update(list.key(), |content| {
        let mut items = match content {
            Some(Content::Items(items)) => items,
            Some(Content::Other(_)) | None => Vec::new(),
        };
        items.push(item.to_owned());
        Content::Items(items)
    });
    added.await?;
    Ok(home_again())
}

pub(super) async fn remove(
    session: Session,
    Path(list): Path<List>,
    Form(form): Form<Item>,
) -> Result<Redirect, Refusal> {
    let removed = session.update(list.key(), |content| match content {
        Some(Content::Items(mut items)) => {
            if let Some(at) = items.iter().position(|item| *item == form.item) {
                items.remove(at);
            }
            Content::Items(items)
        }
        Some(Content::Other(_)) | None => Content::Items(Vec::new()),
    });
    match removed.await {
        // The session ended before this form was sent: there is nothing to remove, and the next page says why.
        Err(error) if error.kind() == ErrorKind::SessionEnded => Ok(home_again()),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(home_again()),
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
                Ok(Some(Content::Items(items))) if !items.is_empty() => ul.items {
                    @for item in &items { li {
                        span { (item) }
                        form method="post" action={ "/list/" (name) "/remove" } {
                            button.quiet name="item" value=(item) aria-label={ "Remove " (item) } { "Remove" }
                        }
                    } }
                },
                Ok(Some(Content::Items(_)) | None) => p.empty { "Nothing yet." },
                Ok(Some(Content::Other(value))) => p.empty { "Set through the API: " code { (value) } },
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
