//! Memory of the process. A round over a large configuration needs several times the memory that is kept, and glibc
//! by itself gives free memory back late or never.

#[cfg(target_env = "gnu")]
use nftnl::nftnl_sys::libc;

/// Has all threads share one heap, in which less stays unused. To be called before there are threads.
pub fn share_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number that the allocator reads when it would make another heap.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives what is free back to the system.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes the allocator's own locks and touches nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
