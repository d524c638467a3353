"""The function that `./esb up` calls to show that the box answers."""

import platform


def handler(event, context):
    name = event.get("name", "world")
    print(f"hello called for {name}")
    return {
        "message": f"Hello, {name}!",
        "function": context.function_name,
        "python": platform.python_version(),
    }
