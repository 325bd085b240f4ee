"""Services elsewhere may be slow: the server isn't."""

from __future__ import annotations

import asyncio
import threading

from batchyard.remote import Line


def test_a_service_that_does_not_answer_takes_none_of_the_threads_that_others_use() -> None:
    async def scenario() -> None:
        loop, line, asked = asyncio.get_running_loop(), Line("test"), list[int]()
        is_asked, answer = asyncio.Event(), threading.Event()

        def question(number: int) -> int:
            asked.append(number)
            loop.call_soon_threadsafe(is_asked.set)
            assert answer.wait(60)
            return number

        waiting = [asyncio.create_task(line.ask(lambda number=number: question(number))) for number in range(100)]
        await is_asked.wait()
        assert await asyncio.to_thread(lambda: "read") == "read"
        for gives_up in waiting[2:]:
            gives_up.cancel()
        answer.set()
        assert await asyncio.gather(*waiting[:2]) == [0, 1]
        assert asked == [0, 1]

    asyncio.run(scenario())
