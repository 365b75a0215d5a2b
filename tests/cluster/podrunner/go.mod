module tidegate.dev/tests/cluster/podrunner

go 1.26.0
