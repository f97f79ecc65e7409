"""Stand-ins for the modules of a dropped branch, so that the user's own code runs on without them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from penjing.network import Network
from penjing.network.copied import copied
from penjing.network.operator import module_of
from penjing.network.solve import tensors_of
from penjing.network.untouched import untouched
from penjing.surgery.selection import Selection

Form = dict[str, Any]
"""What a module returned: `tensor` with its type and sizes, `tuple`, `list` or `dict` of forms, or `plain`.

A size that is None is the one that the first tensor given to the module has in the same place.
"""


class StandIn(nn.Module):
    """Takes whatever the module in its place took, and returns zeros where that gave tensors.

    Zeros of one element add nothing to what the branch was added to, whatever its shape, and cost nothing in
    an exported file. Code that reads their shape, or adds to them in place, needs them whole.
    """

    def __init__(self, form: Form, device: torch.device | None = None) -> None:
        """Makes the zeros.

        Args:
            form: of what is to be returned.
            device: of the zeros.
        """
        super().__init__()
        self._form, self._sizes = form, [leaf["sizes"] for leaf in _tensors(form)]
        for number, leaf in enumerate(_tensors(form)):
            zeros = torch.zeros([1] * len(leaf["sizes"]), dtype=getattr(torch, leaf["dtype"]), device=device)
            self.register_buffer(f"zeros_{number}", zeros, persistent=False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Zeros, in the structure of the form."""
        leaves = pytree.arg_tree_leaves(*args, **kwargs)
        like = next((leaf.shape for leaf in leaves if isinstance(leaf, torch.Tensor)), ())
        found = []
        for number, sizes in enumerate(self._sizes):
            whole = [like[place] if size is None else size for place, size in enumerate(sizes)]
            zeros = getattr(self, f"zeros_{number}")
            # whoever is given them may write into them
            found.append(zeros.clone() if sizes == [1] * len(sizes) else zeros.new_zeros(whole))
        return _filled(self._form, iter(found))


def stand_ins(net: Network, selection: Selection, *, lean: bool = True) -> dict[str, Form]:
    """What only dropped branches make use of: the outermost modules, and tensors that others hold.

    Args:
        net: the network.
        selection: what stays.
        lean: whether zeros of one element are to do.

    Returns:
        Path of a module, or name of a parameter or buffer -> the form of what takes its place.

    Raises:
        TypeError: one returns what is not made of tensors, tuples, lists, dicts and plain values.
    """
    unneeded = _unneeded(net, selection)
    returned: dict[str, Form] = {}
    model = copied(net.model)
    for path, module in model.named_modules(remove_duplicate=False):
        if path in unneeded:
            module.register_forward_hook(_noting(returned, path, lean=lean), with_kwargs=True)
    with untouched(model), torch.no_grad():
        net.call.map(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf).run(model)
    called = {alias for path in returned for alias in unneeded[path]}
    outermost = [path for path in called if not any(outer in called for outer in _outside(path))]
    forms: dict[str, Form] = {}
    for path in sorted(outermost):
        noted = [returned[alias] for alias in sorted(unneeded[path]) if alias in returned]
        forms[path] = _checked(noted[0], path)
    tensors = tensors_of(net.model)
    for name in _unread_tensors(net, selection, tensors):
        if not any(outer in forms for outer in _outside(name)):
            forms[name] = _form_of(tensors[name])
    return forms


def install_stand_ins(model: nn.Module, forms: Mapping[str, Form]) -> None:
    """Puts zeros in place of each tensor that is named, and a stand-in of each module."""
    made: dict[int, StandIn] = {}
    for path, form in forms.items():
        outer, _, name = path.rpartition(".")
        holder = model.get_submodule(outer)
        whole = getattr(holder, name)
        if isinstance(whole, torch.Tensor):
            delattr(holder, name)
            holder.register_buffer(name, whole.new_zeros([1] * whole.ndim), persistent=False)
            continue
        device = next((tensor.device for tensor in tensors_of(whole).values()), None)
        made.setdefault(id(whole), StandIn(form, device).train(whole.training))
        setattr(holder, name, made[id(whole)])


def _unneeded(net: Network, selection: Selection) -> dict[str, set[str]]:
    """Paths of modules all of whose operators and tensors only dropped branches need -> all paths of each."""
    aliases: dict[int, set[str]] = defaultdict(set)
    paths: dict[str, int] = {}
    for path, module in net.model.named_modules(remove_duplicate=False):
        aliases[id(module)].add(path)
        paths[path] = id(module)
    idle, needed = set[int](), set[int]()
    unread = _unread(net, selection)
    for node in net.trace.graph.nodes:
        if node.op == "call_function":
            path = module_of(node)
            owners = {paths[at] for at in (path, *_outside(path)) if at in paths}
            (idle if node in unread else needed).update(owners)
        elif node.op == "placeholder" and node not in unread and (name := net.trace.state.get(node.name)):
            needed.update(paths[at] for at in _outside(name) if at in paths)
    return {path: aliases[paths[path]] for path in paths if path and paths[path] in idle - needed}


def _unread_tensors(net: Network, selection: Selection, tensors: Mapping[str, torch.Tensor]) -> Iterator[str]:
    """Names of all tensors that only dropped branches read, each with its aliases."""
    unread = {net.trace.state.get(node.name) for node in _unread(net, selection) if node.op == "placeholder"}
    shared = {id(tensors[name]) for name in unread & selection.unread if name is not None}
    yield from (name for name, tensor in tensors.items() if id(tensor) in shared)


def _unread(net: Network, selection: Selection) -> set[fx.Node]:
    """Everything that is left out, and everything else whose values nobody but such operators reads."""
    found: set[fx.Node] = set()
    for node in reversed(net.trace.graph.nodes):
        if node.name in selection.left_out or (
            node.op in ("call_function", "placeholder") and not _writes(node) and found.issuperset(node.users)
        ):
            found.add(node)
    return found


def _writes(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(a.alias_info and a.alias_info.is_write for a in schema.arguments)


def _outside(path: str) -> Iterator[str]:
    """Paths of the modules around the one at `path`."""
    while path:
        path = path.rpartition(".")[0]
        yield path


def _noting(returned: dict[str, Form], path: str, *, lean: bool) -> Any:
    def note(_module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        leaves = pytree.arg_tree_leaves(*args, **kwargs)
        given = next((tuple(leaf.shape) for leaf in leaves if isinstance(leaf, torch.Tensor)), ())
        returned[path] = _form_of(output, None if lean else given)

    return note


def _form_of(value: Any, given: tuple[int, ...] | None = None) -> Form:
    """The form of a value; of whole tensors where the shape that was `given` to their module is told."""
    if isinstance(value, torch.Tensor):
        sizes: list[int | None] = [1] * value.ndim
        if given is not None:
            sizes = [
                None if place < len(given) and given[place] == size else size
                for place, size in enumerate(value.shape)
            ]
        return {"tensor": {"dtype": str(value.dtype).removeprefix("torch."), "sizes": sizes}}
    if type(value) in (tuple, list):
        return {type(value).__name__: [_form_of(entry, given) for entry in value]}
    if type(value) is dict:
        return {"dict": {key: _form_of(entry, given) for key, entry in value.items()}}
    if value is None or type(value) in (bool, int, float, str):
        return {"plain": value}
    return {"unknown": type(value).__name__}


def _checked(form: Form, path: str) -> Form:
    if (unknown := next(_unknown(form), None)) is not None:
        raise TypeError(f"`{path}`, of a dropped branch, returns a {unknown}")
    return form


def _unknown(form: Form) -> Iterator[str]:
    ((kind, held),) = form.items()
    if kind == "unknown":
        yield held
    elif kind in ("tuple", "list", "dict"):
        for entry in held.values() if kind == "dict" else held:
            yield from _unknown(entry)


def _tensors(form: Form) -> Iterator[dict[str, Any]]:
    ((kind, held),) = form.items()
    if kind == "tensor":
        yield held
    elif kind != "plain":
        for entry in held.values() if kind == "dict" else held:
            yield from _tensors(entry)


def _filled(form: Form, zeros: Iterator[torch.Tensor]) -> Any:
    ((kind, held),) = form.items()
    if kind == "tensor":
        return next(zeros)
    if kind == "plain":
        return held
    if kind == "dict":
        return {key: _filled(entry, zeros) for key, entry in held.items()}
    entries = [_filled(entry, zeros) for entry in held]
    return tuple(entries) if kind == "tuple" else entries
