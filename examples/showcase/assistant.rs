//! The other side of a demo's conversation: canned answers for each industry. A real one asks a model here.

use sessile::Industry;

/// What the assistant says, and what it says about that.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) content: String,
    /// From 0 to 1.
    pub(crate) confidence: f64,
    pub(crate) sources: &'static [&'static str],
}

/// An answer that is known by heart.
struct Known {
    content: &'static str,
    confidence: f64,
    sources: &'static [&'static str],
}

/// What people may ask, and what they are answered: so many rounds complete a demo.
type Script = [(&'static str, Known); 3];

/// A question to begin with, or to go on with after so many; none when all are asked.
pub(crate) fn question(industry: &Industry, asked: usize) -> Option<&'static str> {
    script(industry).get(asked).map(|(question, _)| *question)
}

/// The answer to what was asked after so many others. To a question of the script it is the script's; to any other, one of
/// those, which is said to be no more than that.
pub(crate) fn answer(industry: &Industry, question: &str, asked: usize) -> Answer {
    let script = script(industry);
    let found = script.iter().find(|(known, _)| *known == question);
    let (asked_for, known) = found.unwrap_or(&script[asked % script.len()]);
    let (content, confidence) = match found {
        Some(_) => (known.content.to_owned(), known.confidence),
        None => {
            let content = format!(
                "I know a few things by heart. To “{asked_for}” I answer: {}",
                known.content
            );
            (content, known.confidence / 10.0)
        }
    };
    Answer {
        content,
        confidence,
        sources: known.sources,
    }
}

fn script(industry: &Industry) -> &'static Script {
    match industry.as_str() {
        "financial" => &FINANCIAL,
        "healthcare" => &HEALTHCARE,
        "ecommerce" => &ECOMMERCE,
        "manufacturing" => &MANUFACTURING,
        "technology" => &TECHNOLOGY,
        "media" => &MEDIA,
        _ => &GENERAL,
    }
}

const fn said(content: &'static str, confidence: f64, sources: &'static [&'static str]) -> Known {
    Known {
        content,
        confidence,
        sources,
    }
}

const FINANCIAL: Script = [
    (
        "Which payments look unusual?",
        said(
            "Eleven of last week’s payments differ from their account’s habits: four by amount, seven by country.",
            0.94,
            &["Ledger", "Country list"],
        ),
    ),
    (
        "How long does an application take?",
        said(
            "Two days on average. Most of that is waiting for documents, which a reminder after six hours halves.",
            0.88,
            &["Application log"],
        ),
    ),
    (
        "What do auditors ask for first?",
        said(
            "Who changed a limit, when, and on whose word. All three are in one report.",
            0.91,
            &["Audit trail", "Handbook, chapter 4"],
        ),
    ),
];

const HEALTHCARE: Script = [
    (
        "How can we shorten the wait?",
        said(
            "Ask about medication before the visit: that is four minutes of each admission.",
            0.92,
            &["Admission times", "Questionnaire"],
        ),
    ),
    (
        "Who misses appointments?",
        said(
            "Mostly those that were made more than three weeks ahead. A message the day before brings every third one back.",
            0.87,
            &["Calendar"],
        ),
    ),
    (
        "Which records are incomplete?",
        said(
            "Two in a hundred lack allergies. They are marked for the next visit.",
            0.96,
            &["Patient records"],
        ),
    ),
];

const ECOMMERCE: Script = [
    (
        "Why are carts abandoned?",
        said(
            "At the shipping costs, by every second one. Said on the product’s page, they cost you a tenth of those.",
            0.9,
            &["Checkout funnel"],
        ),
    ),
    (
        "What should we restock?",
        said(
            "Kettles and umbrellas: both are out in nine days, and take twelve to arrive.",
            0.93,
            &["Stock", "Suppliers"],
        ),
    ),
    (
        "Which returns can we avoid?",
        said(
            "Shoes that run small. A line about it beside the size saves some forty parcels a week.",
            0.85,
            &["Returns", "Reviews"],
        ),
    ),
];

const MANUFACTURING: Script = [
    (
        "Which machine needs service next?",
        said(
            "Press 4: its vibration rises since Tuesday, as it did before the last bearing.",
            0.89,
            &["Sensors", "Service log"],
        ),
    ),
    (
        "Where do we lose time?",
        said(
            "Changing tools between small orders, 50 minutes a shift. Ordered by tool, it is 20.",
            0.91,
            &["Shift reports"],
        ),
    ),
    (
        "What causes scrap?",
        said(
            "Half of it is made within ten minutes of a cold start.",
            0.86,
            &["Quality checks", "Sensors"],
        ),
    ),
];

const TECHNOLOGY: Script = [
    (
        "What broke after the release?",
        said(
            "Signing in on old tablets: the page needs a feature that they do not have. Three customers wrote.",
            0.95,
            &["Error log", "Tickets"],
        ),
    ),
    (
        "Which tickets are the same?",
        said(
            "Nineteen of this week’s are about one export that ends early. I linked them.",
            0.9,
            &["Tickets"],
        ),
    ),
    (
        "Where does a new colleague begin?",
        said(
            "With the parser: small, well tested, and every change of format comes by it.",
            0.82,
            &["Repository", "Handbook"],
        ),
    ),
];

const MEDIA: Script = [
    (
        "What do readers finish?",
        said(
            "Interviews: two of three are read to the end, whatever their length.",
            0.9,
            &["Reading times"],
        ),
    ),
    (
        "When should we publish?",
        said(
            "Analyses before seven, for the train; everything else does as well at noon.",
            0.84,
            &["Reading times", "Newsletter"],
        ),
    ),
    (
        "Which archive pieces are worth another look?",
        said(
            "Five about the river, since the flood is ten years ago next week.",
            0.88,
            &["Archive", "Calendar"],
        ),
    ),
];

const GENERAL: Script = [
    (
        "What can you do?",
        said(
            "Answer what your people are asked every day, and say where the answer comes from.",
            0.97,
            &["Product page"],
        ),
    ),
    (
        "How do we begin?",
        said(
            "With one team and one kind of question. After two weeks you see what it saves.",
            0.9,
            &["Getting started"],
        ),
    ),
    (
        "What happens to our data?",
        said(
            "It stays where it is. I read what you let me, and nothing is kept after a day.",
            0.93,
            &["Product page", "Agreement"],
        ),
    ),
];
