"""Which adapters a tenant gets for a task: a pure function, so that it can be shown to be fair.

What a tenant may use is decided by the entry's moduleId alone, never by how a name begins: `a`
and `a-b` are two tenants. Another tenant's adapters are not even looked at.
"""

from __future__ import annotations

from collections import Counter

from yoyo.model.adapter import (
    MAX_STACK,
    SHARED_MODULE,
    AdapterBook,
    Chosen,
    Registered,
    Selection,
    Stage,
)
from yoyo.model.ids import ModuleId


def select(
    module_id: ModuleId, task: str, base: str, book: AdapterBook, most: int = MAX_STACK
) -> Selection:
    """The stack for a tenant, a task ("": any task will do) and the base that is loaded.

    Shared adapters come first in the stack, then the tenant's own, each by identifier. Where
    there are more than `most` (never more than MAX_STACK), the tenant's own stay before shared
    ones, then what is for this very task before what is for any, then by identifier.
    """
    usable = [
        each for each in book.adapters if each.adapter.module_id in (module_id, SHARED_MODULE)
    ]
    promoted = Counter(each.adapter.id for each in usable if each.stage is Stage.PROMOTED)
    refused: dict[str, str] = {}
    fitting: list[Registered] = []
    for each in usable:
        why = _why_not(each, task, base, promoted[each.adapter.id])
        if why:
            refused[each.adapter.name] = why
        else:
            fitting.append(each)
    most = max(0, min(most, MAX_STACK))
    fitting.sort(key=lambda each: _rank(each, task))
    for each in fitting[most:]:
        refused[each.adapter.name] = f"at most {most} at once, and others come first"
    stack = sorted(fitting[:most], key=lambda each: (not each.adapter.shared, each.adapter.id))
    return Selection(
        tuple(Chosen(each, each.scale, _why(each, task)) for each in stack),
        tuple(sorted(refused.items())),
    )


def _why_not(entry: Registered, task: str, base: str, promoted: int) -> str:
    adapter = entry.adapter
    if entry.stage is not Stage.PROMOTED:
        return f"it is {entry.stage}, not {Stage.PROMOTED}"
    if not entry.sign_off:
        return "it has no sign-off of an evaluator"
    if promoted > 1:
        return f"{promoted} versions of {adapter.id} are promoted at once"
    if not base or adapter.base != base:
        return f"it is for the base {adapter.base}, and {base or 'an unknown one'} is loaded"
    if task and adapter.tasks and task not in adapter.tasks:
        return f"it is for {', '.join(adapter.tasks)}, not for {task}"
    return ""


def _rank(entry: Registered, task: str) -> tuple[bool, bool, str]:
    adapter = entry.adapter
    return adapter.shared, not (task and task in adapter.tasks), adapter.id


def _why(entry: Registered, task: str) -> str:
    adapter = entry.adapter
    whose = "shared" if adapter.shared else f"of {adapter.module_id}"
    if task and task in adapter.tasks:
        return f"{whose}, for {task}"
    return f"{whose}, for {', '.join(adapter.tasks) or 'any task'}"
