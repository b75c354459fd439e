module region-go

go 1.25

