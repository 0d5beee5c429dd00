"""``python -m vllm.entrypoints.openai.api_server --model MODEL ...``"""

from vllm.entrypoints.openai.cli_args import make_arg_parser
from vllm.fake.life import serve
from vllm.utils.argparse_utils import FlexibleArgumentParser

if __name__ == "__main__":
    serve(make_arg_parser(FlexibleArgumentParser()).parse_args())
