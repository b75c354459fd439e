// Package runtime gives the host memory of this component to write its arguments into.
package runtime

import (
	"runtime"
	"unsafe"
)

// Allocate returns memory that stays where it is until the pinner lets go of it.
func Allocate(pinner *runtime.Pinner, size, align uintptr) unsafe.Pointer {
	if size == 0 {
		return nil
	}
	// Words of eight bytes are aligned for every type of the interface.
	pointer := unsafe.Pointer(unsafe.SliceData(make([]uint64, (size+7)/8)))
	pinner.Pin(pointer)
	return pointer
}

var arguments runtime.Pinner

// Unpin leaves the arguments of a call to the garbage collector.
func Unpin() { arguments.Unpin() }

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uintptr) unsafe.Pointer {
	if old != nil || oldSize != 0 {
		panic("arguments do not grow")
	}
	return Allocate(&arguments, size, align)
}
