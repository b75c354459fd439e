// Package types has what the generated bindings need beside Go's own types.
package types

const (
	ResultOk  = 0
	ResultErr = 1
)

// Result is an answer or, where Problem is set, the reason why there is none.
type Result[T any, E any] struct {
	Answer  T
	Problem *E
}

func (r Result[T, E]) Tag() uint8 {
	if r.Problem != nil {
		return ResultErr
	}
	return ResultOk
}

func (r Result[T, E]) Ok() T { return r.Answer }

func (r Result[T, E]) Err() E { return *r.Problem }

type Tuple2[T any, U any] struct {
	F0 T
	F1 U
}
