"""The rewritten graph as a module: for models whose own Python code cannot follow a cut."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from penjing.axes import Dim, Kind, leaves
from penjing.network import Network
from penjing.network.arguments import bind, rebind
from penjing.network.op import Op
from penjing.network.solve import tensor_named
from penjing.surgery.selection import Selection, take

_FLAGS = ("train", "training")


class GraphNetwork(nn.Module):
    """An operator graph that is called like the model it was taken from, with the same parameter names.

    Operators that behave differently in training (dropout, batch normalisation) follow `train()` and
    `eval()`.

    Attributes:
        graph: the operators.
    """

    def __init__(
        self, graph: fx.Graph, tensors: Mapping[str, torch.Tensor], out_spec: pytree.TreeSpec
    ) -> None:
        """Takes a graph whose `get_attr` nodes name `tensors`, and the structure of what it returns."""
        super().__init__()
        for name, tensor in tensors.items():
            _attach(self, name, tensor)
        self.graph = graph
        self._out_spec = _Shared(out_spec)
        self._functions = {False: _compile(graph), True: _compile(_training(graph))}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the graph on the arguments of the original."""
        flat = pytree.arg_tree_leaves(*args, **kwargs)
        return pytree.tree_unflatten(list(self._functions[self.training](self, *flat)), self._out_spec.value)


class _Shared:
    """Something that copies of a module have in common."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __deepcopy__(self, memo: dict[int, Any]) -> _Shared:
        return self


def rewrite(net: Network, selection: Selection) -> GraphNetwork:
    """The graph of `net` with smaller tensors, and every stated size as it must be then."""
    graph = fx.Graph()
    values: dict[fx.Node, Any] = {}
    tensors: dict[str, torch.Tensor] = {}
    made: dict[int, torch.Tensor] = {}
    batch = _Batch(net, graph, values)
    holders = [node for node in net.trace.graph.nodes if node.op == "placeholder"]
    for node in sorted(holders, key=lambda n: n.name not in net.trace.inputs):
        if node.name in net.trace.inputs:
            values[node] = graph.placeholder(node.name)
            continue
        name = net.trace.state.get(node.name) or net.trace.constants[node.name][0]
        whole = (
            tensor_named(net.model, name)
            if node.name in net.trace.state
            else net.trace.constants[node.name][1]
        )
        if id(whole) not in made:
            dims = net.solution.values[node]
            assert isinstance(dims, tuple)
            made[id(whole)] = _smaller(whole, selection.kept_of(dims))
        tensors[name] = made[id(whole)]
        values[node] = graph.get_attr(name)
    for node in net.trace.graph.nodes:
        if node.name in selection.passed:
            skip = next(
                source for source in node.all_input_nodes if source.name == selection.passed[node.name]
            )
            values[node] = graph.call_function(torch.ops.aten.clone.default, (values[skip],))
        elif node.op == "call_function":
            op = net.solution.ops.get(node)
            target, args, kwargs = selection.arguments(op) if op else (node.target, node.args, node.kwargs)
            args, kwargs = fx.map_arg((args, kwargs), lambda n: values[n])
            values[node] = graph.create_node("call_function", target, args, kwargs, name=node.name)
            if op:
                batch.free(op, values[node])
        elif node.op == "output":
            graph.output(tuple(fx.map_arg(pytree.tree_leaves(node.args[0]), lambda n: values[n])))
    graph.eliminate_dead_code()
    kept = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
    missing = {
        name: p for name, p in net.model.named_parameters(remove_duplicate=False) if name not in tensors
    }
    found = {
        name: tensor
        for name, tensor in tensors.items()
        if name in kept or (name in net.tensors and name not in selection.unread)
    }
    return GraphNetwork(graph, {**found, **missing}, net.trace.out_spec)


class _Batch:
    """Keeps the batch size free: sizes that the trace fixed are read from the first input again."""

    def __init__(self, net: Network, graph: fx.Graph, values: dict[fx.Node, Any]) -> None:
        self._space, self._graph, self._values = net.solution.space, graph, values
        by_name = {node.name: node for node in net.trace.graph.nodes if node.op == "placeholder"}
        self._source: fx.Node | None = None
        self._atom: Dim | None = None
        self._size: fx.Node | None = None
        firsts = [(by_name[name], net.solution.values[by_name[name]]) for name in net.trace.inputs]
        shaped = [(node, dims) for node, dims in firsts if isinstance(dims, tuple) and dims]
        if shaped and len({self._space.root(dims[0]) for _, dims in shaped}) == 1:
            node, dims = shaped[0]
            if self._space.kind(dims[0]) is Kind.ATOM and self._space.size(dims[0]) > 1:
                self._source, self._atom = node, self._space.root(dims[0])

    def free(self, op: Op, node: fx.Node) -> None:
        """Replaces stated sizes that are multiples of the batch size by that multiple."""
        if self._atom is None or node.target is not op.node.target:
            return
        changed: dict[str, Any] = {}
        now = bind(node)
        for name, stated in op.sizes.items():
            if isinstance(stated, list) and isinstance(now[name], list | tuple):
                sizes = [self._multiple(d, s, node) for d, s in zip(stated, now[name], strict=True)]
                if any(isinstance(size, fx.Node) for size in sizes):
                    changed[name] = sizes
        if changed:
            node.args, node.kwargs = rebind(node, changed)

    def _multiple(self, dim: Dim | None, size: Any, node: fx.Node) -> Any:
        if not isinstance(size, int) or dim is None or self._atom not in leaves(self._space, dim):
            return size
        assert self._atom is not None
        many = self._space.size(self._atom)
        factors = self._space.parts(dim) or (self._space.root(dim),)
        if self._space.kind(dim) is Kind.SUM or self._atom not in factors or size % many:
            return size
        with self._graph.inserting_before(node):
            if self._size is None:
                assert self._source is not None
                source = self._values[self._source]
                after = next(n for n in self._graph.nodes if n.op == "call_function")
                with self._graph.inserting_before(after):
                    self._size = self._graph.call_function(torch.ops.aten.sym_size.int, (source, 0))
            if size == many:
                return self._size
            return self._graph.call_function(operator.mul, (self._size, size // many))


def _smaller(whole: torch.Tensor, kept: Mapping[int, list[int]]) -> torch.Tensor:
    cut = take(whole.detach(), kept).clone()
    return nn.Parameter(cut, whole.requires_grad) if isinstance(whole, nn.Parameter) else cut


def _attach(root: nn.Module, name: str, tensor: torch.Tensor) -> None:
    """Registers `tensor` at a dotted name, making plain modules on the way."""
    *path, leaf = name.split(".")
    module = root
    for part in path:
        if part not in module._modules:
            module.add_module(part, nn.Module())
        module = module.get_submodule(part)
    if isinstance(tensor, nn.Parameter):
        module.register_parameter(leaf, tensor)
    else:
        module.register_buffer(leaf, tensor)


def _training(graph: fx.Graph) -> fx.Graph:
    """The graph with every training flag set; as it was traced, in eval mode, some may be set already."""
    copy = fx.Graph()
    copy.output(copy.graph_copy(graph, {}))
    for node in copy.nodes:
        if node.op != "call_function" or not hasattr(node.target, "_schema"):
            continue
        flags = {a.name: True for a in node.target._schema.arguments if a.name in _FLAGS}
        if flags:
            node.args, node.kwargs = rebind(node, flags)
    return copy


def _compile(graph: fx.Graph) -> Any:
    """The graph as one Python function of (module, *inputs)."""
    code = graph.python_code("self")
    scope: dict[str, Any] = dict(code.globals)
    exec(compile(code.src, "<penjing graph>", "exec"), scope)
    return scope["forward"]
