module leave-go

go 1.25

