//! [`Shared`]: copy-on-write values that the reconcile task shares with readers.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Weak};

/// A value that can be shared at almost no cost. It is copied if it changes while a reader still holds the shared
/// value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared<T>(Arc<T>);

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        Shared(Arc::new(value))
    }

    /// A reference that is lost when the value changes, and does not make it be copied.
    pub(crate) fn downgrade(&self) -> Weak<T> {
        Arc::downgrade(&self.0)
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}
