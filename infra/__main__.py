"""`python -m infra`: the command `slipway` where the project is on the path and not installed, as in its images."""

from infra.command.main import main

if __name__ == "__main__":
    main()
