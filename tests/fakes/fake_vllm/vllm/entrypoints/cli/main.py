"""``vllm serve MODEL ...`` and ``vllm --version``."""

import vllm
from vllm.entrypoints.openai.cli_args import make_arg_parser
from vllm.fake.life import serve
from vllm.utils.argparse_utils import FlexibleArgumentParser


def main() -> None:
    parser = FlexibleArgumentParser(prog="vllm")
    parser.add_argument("-v", "--version", action="version", version=vllm.__version__)
    make_arg_parser(parser.add_subparsers(required=True, metavar="serve").add_parser("serve"))
    args = parser.parse_args()
    args.model = args.model_tag or args.model
    serve(args)


if __name__ == "__main__":
    main()
