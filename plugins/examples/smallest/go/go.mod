module smallest-go

go 1.25

