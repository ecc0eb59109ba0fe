//! Memory that the process has no use for.

/// Gives what is free back to the system, which glibc by itself does late or never: a round over a large
/// configuration needs several times the memory that is kept.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes the allocator's own locks and touches nothing that is in use.
    unsafe {
        nftnl::nftnl_sys::libc::malloc_trim(0);
    }
}
