//! The allocator of a policy: what is given back is kept by size and given out again.
//!
//! A policy is called thousands of times with the same question in other numbers, so nearly every allocation finds a block
//! of its size that the call before gave back. Blocks are never split or joined, so a policy holds up to twice the memory
//! that it used, a quarter more of what is larger than a page. There are no threads in a policy.
#![allow(unsafe_code, reason = "an allocator hands out raw memory")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ptr;

const PAGE: usize = 1 << 16;
/// Power of two of the smallest size, which holds the link to the next free block, and of the largest that is not made of
/// whole pages.
const SMALLEST: u32 = 4;
const LARGEST: u32 = PAGE.trailing_zeros();
/// Sizes: powers of two up to a page, above it four steps to each power of two.
const SIZES: usize = 128;

struct Blocks {
    /// By size, the first free block; each links to the next.
    free: [Cell<*mut u8>; SIZES],
    /// Memory that was never given out, up to `end`.
    fresh: Cell<usize>,
    end: Cell<usize>,
}

// A policy has one thread.
unsafe impl Sync for Blocks {}

#[global_allocator]
static BLOCKS: Blocks =
    Blocks { free: [const { Cell::new(ptr::null_mut()) }; SIZES], fresh: Cell::new(0), end: Cell::new(0) };

/// The number of the least size that holds a layout.
#[inline]
fn class(size: usize, align: usize) -> u32 {
    let last = size.max(align) - 1;
    let power = usize::BITS - last.leading_zeros();
    if power <= LARGEST { power.max(SMALLEST) } else { large(last, power) }
}

#[cold]
fn large(last: usize, power: u32) -> u32 {
    let quarter = (last >> (power - 3)) & 3;
    LARGEST + 1 + (power - 1 - LARGEST) * 4 + quarter as u32
}

/// Pages of a size above one page.
fn pages(class: u32) -> usize {
    let step = class - LARGEST - 1;
    let bytes = u64::from(5 + step % 4) << (LARGEST + step / 4 - 2);
    bytes.div_ceil(PAGE as u64) as usize
}

impl Blocks {
    #[inline]
    fn slot(&self, class: u32) -> &Cell<*mut u8> {
        &self.free[class as usize % SIZES]
    }

    #[cold]
    fn grow(&self, class: u32) -> *mut u8 {
        if class > LARGEST {
            return Self::more(pages(class)) as *mut u8;
        }
        let size = 1 << class;
        let mut start = self.fresh.get().next_multiple_of(size);
        if start + size > self.end.get() {
            start = Self::more(1);
            if start == 0 {
                return ptr::null_mut();
            }
            self.end.set(start + PAGE);
        }
        self.fresh.set(start + size);
        start as *mut u8
    }

    /// The address of so many new pages; 0 where there are no more.
    fn more(pages: usize) -> usize {
        let before = core::arch::wasm32::memory_grow(0, pages);
        if before == usize::MAX { 0 } else { before * PAGE }
    }
}

// Blocks are aligned to their size, or to a page above one, and live as long as the policy.
unsafe impl GlobalAlloc for Blocks {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let class = class(layout.size(), layout.align());
        let slot = self.slot(class);
        let block = slot.get();
        if block.is_null() {
            return self.grow(class);
        }
        slot.set(unsafe { block.cast::<*mut u8>().read() });
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let slot = self.slot(class(layout.size(), layout.align()));
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
