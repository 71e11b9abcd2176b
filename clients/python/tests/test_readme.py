"""The examples of the README, as they stand there."""

from __future__ import annotations

import asyncio
import os
import re
import textwrap
from typing import Any, Dict, List

import quorate

from .support import QuorumTests, asynchronous


def examples() -> List[str]:
    path = os.path.join(os.path.dirname(__file__), "..", "README.md")
    with open(path, encoding="utf-8") as file:
        return re.findall(r"```python\n(.*?)```", file.read(), re.DOTALL)


class ReadmeTests(QuorumTests):
    @asynchronous
    async def test_every_example_runs(self) -> None:
        found = [each for each in examples() if "tls_context" not in each]
        self.assertGreater(len(found), 7)
        async with self.client() as client:
            for example in found:
                example = example.replace("127.0.0.1:7400", self.quorum.endpoints[0])
                example = example.replace("asyncio.run(main())", "await main()")
                names: Dict[str, Any] = {"client": client, "quorate": quorate, "print": lambda *values: None}
                exec("async def example():\n" + textwrap.indent(example, "    "), names)
                # Those that follow something go on for ever.
                is_endless = re.search("async for|while", example) is not None
                try:
                    await asyncio.wait_for(names["example"](), 0.7 if is_endless else 40)
                except asyncio.TimeoutError:
                    self.assertTrue(is_endless, example)
