//! Expressions of libnftnl, written and read by attribute.

use std::ffi::{CStr, CString, c_char};
use std::marker::PhantomData;
use std::ptr::NonNull;

use nftnl::nftnl_sys as sys;

/// An expression being built.
pub(crate) struct Builder(NonNull<sys::nftnl_expr>);

impl Builder {
    /// Creates an expression with this name in the kernel.
    pub(crate) fn new(name: &CStr) -> Self {
        // SAFETY: `name` is a terminated string; libnftnl copies what it keeps.
        let expr = unsafe { sys::nftnl_expr_alloc(name.as_ptr()) };
        Builder(NonNull::new(expr).expect("libnftnl knows the expressions of 1.2.4 and memory is left"))
    }

    pub(crate) fn u32(self, attribute: u32, value: u32) -> Self {
        // SAFETY: the pointer is ours and live until `finish`.
        unsafe { sys::nftnl_expr_set_u32(self.0.as_ptr(), attribute as u16, value) };
        self
    }

    pub(crate) fn u8(self, attribute: u32, value: u8) -> Self {
        // SAFETY: as in `u32`.
        unsafe { sys::nftnl_expr_set_u8(self.0.as_ptr(), attribute as u16, value) };
        self
    }

    pub(crate) fn u64(self, attribute: u32, value: u64) -> Self {
        // SAFETY: as in `u32`.
        unsafe { sys::nftnl_expr_set_u64(self.0.as_ptr(), attribute as u16, value) };
        self
    }

    pub(crate) fn bytes(self, attribute: u32, value: &[u8]) -> Self {
        // SAFETY: as in `u32`; libnftnl copies as many bytes as it is told.
        unsafe {
            sys::nftnl_expr_set(self.0.as_ptr(), attribute as u16, value.as_ptr().cast(), value.len() as u32);
        }
        self
    }

    /// Sets the expression that a `dynset` attaches to each element.
    pub(crate) fn inner(self, inner: Builder) -> Self {
        // SAFETY: as in `u32`; `inner` is handed over and freed with this one.
        unsafe {
            sys::nftnl_expr_add_expr(self.0.as_ptr(), sys::NFTNL_EXPR_DYNSET_EXPRESSIONS, inner.0.as_ptr())
        };
        self
    }

    /// Sets a text. A text with a zero byte becomes empty, and the kernel rejects it.
    pub(crate) fn text(self, attribute: u32, text: &str) -> Self {
        let text = CString::new(text).unwrap_or_default();
        // SAFETY: as in `u32`; `text` is terminated and copied by libnftnl.
        unsafe { sys::nftnl_expr_set_str(self.0.as_ptr(), attribute as u16, text.as_ptr()) };
        self
    }

    /// Gives up ownership: the rule to which it is added frees it.
    pub(crate) fn finish(self) -> NonNull<sys::nftnl_expr> {
        self.0
    }
}

/// An expression of a parsed rule.
#[derive(Clone, Copy)]
pub(crate) struct RawExpr<'a>(NonNull<sys::nftnl_expr>, PhantomData<&'a sys::nftnl_expr>);

impl<'a> RawExpr<'a> {
    /// Wraps an expression of a rule.
    ///
    /// # Safety
    /// `expr` must be valid, and stay unchanged, for `'a`.
    pub(crate) unsafe fn new(expr: NonNull<sys::nftnl_expr>) -> Self {
        RawExpr(expr, PhantomData)
    }

    /// The kernel's name of the expression.
    pub(crate) fn name(self) -> &'a str {
        let name = self.bytes(sys::NFTNL_EXPR_NAME).unwrap_or_default();
        let name = CStr::from_bytes_until_nul(name).unwrap_or_default();
        name.to_str().unwrap_or_default()
    }

    /// The value of an attribute, if it is set.
    pub(crate) fn bytes(self, attribute: u32) -> Option<&'a [u8]> {
        let mut length = 0;
        // SAFETY: the expression is valid for `'a`, and libnftnl returns null or a pointer into it
        // to as many bytes as it puts into `length`.
        unsafe {
            let value = sys::nftnl_expr_get(self.0.as_ptr(), attribute as u16, &mut length);
            (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast(), length as usize))
        }
    }

    pub(crate) fn u32(self, attribute: u32) -> Option<u32> {
        self.bytes(attribute)?.try_into().ok().map(u32::from_ne_bytes)
    }

    pub(crate) fn u64(self, attribute: u32) -> Option<u64> {
        self.bytes(attribute)?.try_into().ok().map(u64::from_ne_bytes)
    }

    /// The expression that a `dynset` attaches to each element, if there is exactly one.
    pub(crate) fn inner(self) -> Option<RawExpr<'a>> {
        let mut length = 0;
        // SAFETY: the expression is valid for `'a`, and so is the inner one that libnftnl returns; it returns null if
        // there is none or more than one.
        unsafe {
            let attribute = sys::NFTNL_EXPR_DYNSET_EXPR as u16;
            let inner = sys::nftnl_expr_get(self.0.as_ptr(), attribute, &mut length);
            NonNull::new(inner.cast_mut().cast()).map(|inner| RawExpr::new(inner))
        }
    }

    pub(crate) fn u8(self, attribute: u32) -> Option<u8> {
        self.bytes(attribute)?.first().copied()
    }

    pub(crate) fn text(self, attribute: u32) -> Option<&'a str> {
        CStr::from_bytes_until_nul(self.bytes(attribute)?).ok()?.to_str().ok()
    }

    /// The expression as `nft --debug=netlink` prints it.
    pub(crate) fn describe(self) -> String {
        let mut buffer = [0_u8; 512];
        // SAFETY: libnftnl writes at most the given number of bytes, the last of them a zero.
        unsafe {
            sys::nftnl_expr_snprintf(
                buffer.as_mut_ptr().cast::<c_char>(),
                buffer.len(),
                self.0.as_ptr(),
                sys::NFTNL_OUTPUT_DEFAULT,
                0,
            );
        }
        let details = CStr::from_bytes_until_nul(&buffer).unwrap_or_default().to_string_lossy();
        format!("[ {} {} ]", self.name(), details.trim())
    }
}
