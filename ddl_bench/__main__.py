"""`python -m ddl_bench` is `ddl-bench`."""

from ddl_bench.cli.main import main

if __name__ == "__main__":
    main()
