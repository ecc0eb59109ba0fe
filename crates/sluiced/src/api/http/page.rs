//! The status page: one document without external resources.

use std::sync::LazyLock;

use data_encoding::BASE64;
use ring::digest::{SHA256, digest};

/// The document, with its content security policy.
#[derive(Debug)]
pub struct Page {
    /// HTML with its styles and scripts.
    pub html: String,
    /// Value of the header `Content-Security-Policy`: its own styles and scripts, its own daemon, nothing else.
    pub policy: String,
}

/// The status page. It shows the data of [`sluice_api::LIVE_PATH`] and cannot change anything.
pub fn page() -> &'static Page {
    static PAGE: LazyLock<Page> = LazyLock::new(assemble);
    &PAGE
}

const DOCUMENT: &str = include_str!("page/index.html");

const STYLES: [&str; 3] =
    [include_str!("page/base.css"), include_str!("page/summary.css"), include_str!("page/services.css")];

/// Scripts, each after those that it needs.
const SCRIPTS: [&str; 13] = [
    include_str!("page/text.js"),
    include_str!("page/dom.js"),
    include_str!("page/words.js"),
    include_str!("page/rate.js"),
    include_str!("page/graph.js"),
    include_str!("page/live.js"),
    include_str!("page/model.js"),
    include_str!("page/service.js"),
    include_str!("page/list.js"),
    include_str!("page/summary.js"),
    include_str!("page/events.js"),
    include_str!("page/theme.js"),
    include_str!("page/main.js"),
];

fn assemble() -> Page {
    let (style, script) = (STYLES.concat(), SCRIPTS.concat());
    // The browser refuses scripts that convert text to markup.
    let policy = format!(
        "default-src 'none'; connect-src 'self'; style-src '{}'; script-src '{}'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        source(&style),
        source(&script)
    );
    Page { html: DOCUMENT.replace("{style}", &style).replace("{script}", &script), policy }
}

/// The hash by which a policy permits an inline style or script.
fn source(text: &str) -> String {
    format!("sha256-{}", BASE64.encode(digest(&SHA256, text.as_bytes()).as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_one_document_that_asks_for_nothing_else() {
        let Page { html, .. } = page();
        assert_eq!(html.matches("<style>").count(), 1);
        assert_eq!(html.matches("<script type=\"module\">").count(), 1);
        for forbidden in ["<link rel=\"stylesheet\"", " src=", "@import", "url(", "https://"] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        // `http://` occurs only in the name space of SVG.
        assert_eq!(html.matches("http://").count(), html.matches("http://www.w3.org/2000/svg").count());
    }

    #[test]
    fn page_makes_no_markup_of_text() {
        for markup in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser"]
        {
            assert!(!page().html.contains(markup), "{markup}");
        }
    }

    #[test]
    fn policy_names_the_hash_of_what_stands_between_the_tags() {
        let Page { html, policy } = page();
        for (open, close) in [("<style>", "</style>"), ("<script type=\"module\">", "</script>")] {
            let inside = html.split_once(open).unwrap().1.split_once(close).unwrap().0;
            assert!(policy.contains(&format!("-src '{}'", source(inside))), "{open} {policy}");
        }
        // The hash of the empty text, from FIPS 180.
        assert_eq!(source(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }
}
