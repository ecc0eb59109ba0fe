//! Netlink attributes: type, length and value, which may be nested.

const HEADER: usize = 4;
const NESTED: u16 = 1 << 15;
/// Removes the flags for "nested" and "network order" from a type.
const TYPE_MASK: u16 = 0x3fff;

/// Consecutive attributes. The iterator stops at the first one with an invalid length.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a>(&'a [u8]);

/// One attribute.
#[derive(Clone, Copy)]
pub(crate) struct Attribute<'a> {
    pub(crate) kind: u16,
    pub(crate) value: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Attributes(bytes)
    }

    /// The first attribute of this type.
    pub(crate) fn find(mut self, kind: u16) -> Option<Attribute<'a>> {
        Iterator::find(&mut self, |attribute| attribute.kind == kind)
    }

    /// Whether the attributes fill the bytes completely.
    pub(crate) fn is_whole(mut self) -> bool {
        self.by_ref().for_each(drop);
        self.0.is_empty()
    }

    pub(crate) fn u32(self, kind: u16) -> Option<u32> {
        self.find(kind)?.u32()
    }

    pub(crate) fn text(self, kind: u16) -> Option<&'a str> {
        self.find(kind)?.text()
    }

    pub(crate) fn bytes(self, kind: u16) -> Option<&'a [u8]> {
        Some(self.find(kind)?.value)
    }

    pub(crate) fn nested(self, kind: u16) -> Option<Attributes<'a>> {
        Some(self.find(kind)?.nested())
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let (header, _) = self.0.split_first_chunk::<HEADER>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let value = self.0.get(HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Attribute { kind, value })
    }
}

impl<'a> Attribute<'a> {
    /// A number in network order, as in nf_tables.
    pub(crate) fn u32(self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(self) -> Option<u64> {
        self.value.try_into().ok().map(u64::from_be_bytes)
    }

    pub(crate) fn text(self) -> Option<&'a str> {
        let end = self.value.iter().position(|byte| *byte == 0).unwrap_or(self.value.len());
        std::str::from_utf8(&self.value[..end]).ok()
    }

    pub(crate) fn nested(self) -> Attributes<'a> {
        Attributes(self.value)
    }
}

/// Appends attributes to a buffer.
pub(crate) trait Write {
    /// Appends a value; at most 65,531 bytes.
    fn put(&mut self, kind: u16, value: &[u8]);

    /// Appends a number in network order.
    fn put_u32(&mut self, kind: u16, value: u32);

    /// Appends a text and its terminating zero.
    fn put_text(&mut self, kind: u16, text: &str);

    /// Appends an attribute whose value is written by `write`.
    fn nest(&mut self, kind: u16, write: impl FnOnce(&mut Self));
}

impl Write for Vec<u8> {
    fn put(&mut self, kind: u16, value: &[u8]) {
        header(self, kind, HEADER + value.len());
        self.extend_from_slice(value);
        pad(self);
    }

    fn put_u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    fn put_text(&mut self, kind: u16, text: &str) {
        header(self, kind, HEADER + text.len() + 1);
        self.extend_from_slice(text.as_bytes());
        self.push(0);
        pad(self);
    }

    fn nest(&mut self, kind: u16, write: impl FnOnce(&mut Self)) {
        let start = self.len();
        header(self, kind | NESTED, HEADER);
        write(self);
        let length = length(self.len() - start);
        self[start..start + 2].copy_from_slice(&length);
    }
}

fn header(bytes: &mut Vec<u8>, kind: u16, size: usize) {
    bytes.extend_from_slice(&length(size));
    bytes.extend_from_slice(&kind.to_ne_bytes());
}

fn length(size: usize) -> [u8; 2] {
    u16::try_from(size).expect("attributes are kept below 64 KiB").to_ne_bytes()
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_written_nested_read_back() {
        let mut bytes = Vec::new();
        bytes.put_text(1, "abc");
        bytes.nest(2, |inner| inner.put_u32(7, 9));
        let read = Attributes::new(&bytes);
        assert_eq!(read.text(1), Some("abc"));
        assert_eq!(read.nested(2).unwrap().u32(7), Some(9));
        assert_eq!(bytes.len(), 8 + 12);
    }

    #[test]
    fn attributes_cut_short_end_early() {
        let mut bytes = Vec::new();
        bytes.put_u32(1, 1);
        bytes.put_u32(2, 2);
        for end in 0..bytes.len() {
            assert_eq!(Attributes::new(&bytes[..end]).count(), end / 8);
        }
        assert_eq!(Attributes::new(&[0, 0, 0, 0, 0, 0]).count(), 0);
    }
}
