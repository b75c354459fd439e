//! The allocator of a policy: what is given back is kept by size and given out again.
//!
//! A policy is called thousands of times with the same question in other numbers, so nearly every allocation finds a block
//! of its size that the call before gave back. Sizes are powers of two; blocks are never split or joined, so a policy holds
//! at most about twice the memory that it ever used at a time. There are no threads in a policy.
#![allow(unsafe_code, reason = "an allocator hands out raw memory")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ptr;

const PAGE: usize = 1 << 16;
/// Sizes from 16 bytes on; the smallest holds the link to the next free block.
const SMALLEST: u32 = 4;

struct Blocks {
    /// By power of two, the first free block; each links to the next.
    free: [Cell<*mut u8>; usize::BITS as usize],
    /// Memory that was never given out.
    fresh: Cell<usize>,
    end: Cell<usize>,
}

// A policy has one thread.
unsafe impl Sync for Blocks {}

#[global_allocator]
static BLOCKS: Blocks = Blocks {
    free: [const { Cell::new(ptr::null_mut()) }; usize::BITS as usize],
    fresh: Cell::new(0),
    end: Cell::new(0),
};

/// The power of two that holds a layout.
#[inline]
fn class(size: usize, align: usize) -> u32 {
    (usize::BITS - (size.max(align) - 1).leading_zeros()).max(SMALLEST)
}

impl Blocks {
    #[cold]
    fn grow(&self, class: u32) -> *mut u8 {
        let Some(size) = 1_usize.checked_shl(class) else { return ptr::null_mut() };
        let start = self.fresh.get().next_multiple_of(size.min(PAGE));
        if start.checked_add(size).is_some_and(|end| end <= self.end.get()) {
            self.fresh.set(start + size);
            return start as *mut u8;
        }
        let pages = size.div_ceil(PAGE);
        let before = core::arch::wasm32::memory_grow(0, pages);
        if before == usize::MAX {
            return ptr::null_mut();
        }
        let start = before * PAGE;
        self.fresh.set(start + size);
        self.end.set(start + pages * PAGE);
        start as *mut u8
    }
}

// Blocks are aligned to their size up to a page, and live as long as the policy.
unsafe impl GlobalAlloc for Blocks {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let class = class(layout.size(), layout.align());
        let slot = &self.free[class as usize & 31];
        let block = slot.get();
        if block.is_null() {
            return self.grow(class);
        }
        slot.set(unsafe { block.cast::<*mut u8>().read() });
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let slot = &self.free[class(layout.size(), layout.align()) as usize & 31];
        unsafe { block.cast::<*mut u8>().write(slot.get()) };
        slot.set(block);
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if class(size, layout.align()) == class(layout.size(), layout.align()) {
            return block;
        }
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !new.is_null() {
            unsafe {
                ptr::copy_nonoverlapping(block, new, size.min(layout.size()));
                self.dealloc(block, layout);
            }
        }
        new
    }
}
