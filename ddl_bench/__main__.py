"""`python -m ddl_bench` is `ddl-bench`."""

from ddl_bench.cli.stops import STOPS, Stopped


def main() -> None:
    """Run the command line, which can be stopped while it is imported, too."""
    STOPS.watch()
    try:
        from ddl_bench.cli.main import main as run_command

        run_command()
    except Stopped:
        STOPS.end()


if __name__ == "__main__":
    main()
