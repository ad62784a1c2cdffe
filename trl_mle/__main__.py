"""`python -m trl_mle` is `trl-mle`."""

from trl_mle.cli.main import main

if __name__ == "__main__":
    main()
