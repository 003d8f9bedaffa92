module corepulse/go-seed

go 1.23
