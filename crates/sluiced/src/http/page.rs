//! The status page.

/// The document, and what a browser may do with it.
#[derive(Debug)]
pub struct Page {
    /// HTML with its styles and scripts.
    pub html: String,
    /// Value of the header `Content-Security-Policy`.
    pub policy: String,
}

/// The status page.
pub fn page() -> &'static Page {
    static PAGE: Page = Page { html: String::new(), policy: String::new() };
    &PAGE
}
