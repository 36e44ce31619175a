"""`python -m medmesh`."""

from medmesh.cli import main

if __name__ == "__main__":
    main()
