//! Settings of the allocator. A round with a large configuration needs several times the memory that is used afterwards,
//! and glibc returns free memory to the system late or never.

#[cfg(target_env = "gnu")]
use nftnl::nftnl_sys::libc;

/// Makes all threads share one heap, which wastes less memory. Must be called before threads are started.
pub fn share_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number that the allocator reads before it creates another heap.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Returns free memory to the system.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes the allocator's locks and does not touch memory in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
