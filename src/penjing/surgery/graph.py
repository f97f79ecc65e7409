"""The rewritten graph as a module: for models whose own Python code cannot follow a cut."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from penjing.axes import Dim, Kind
from penjing.network import Network
from penjing.network.arguments import bind, rebind
from penjing.network.op import Op
from penjing.network.solve import tensor_named, tensors_of
from penjing.surgery.calling import Calling
from penjing.surgery.selection import Selection, take

_FLAGS = ("train", "training", "use_input_stats")


class GraphNetwork(nn.Module):
    """An operator graph that is called like the model it was taken from, with the same parameter names.

    Operators that behave differently in training (dropout, batch normalisation) follow `train()` and
    `eval()`.

    Attributes:
        fx_graph: the operators.
    """

    def __init__(
        self,
        graph: fx.Graph,
        tensors: Mapping[str, torch.Tensor],
        calling: Calling,
        out_spec: pytree.TreeSpec,
        passing: Collection[str] = (),
    ) -> None:
        """Takes a graph and the tensors that its `get_attr` nodes name.

        Args:
            graph: takes flattened inputs, returns flattened outputs.
            tensors: by dotted name.
            calling: how the model was called.
            out_spec: structure of what it returns.
            passing: names of tensors that its state does not keep.
        """
        super().__init__()
        for name, tensor in tensors.items():
            _attach(self, name, tensor, persistent=name not in passing)
        self.fx_graph = graph
        self._calling, self._out_spec = calling, _Shared(out_spec)
        self._functions = {False: _compile(graph), True: _compile(_training(graph))}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the graph on the arguments of the original.

        Raises:
            PenjingError: PJ209, the arguments are built otherwise than the example inputs.
        """
        outputs = self._functions[self.training](self, *self._calling.leaves(args, kwargs))
        return pytree.tree_unflatten(list(outputs), self._out_spec.value)


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
    gone: set[fx.Node] = set()
    for node in net.trace.graph.nodes:
        if node.name in selection.left_out or (
            node.name not in selection.passed and gone & {*node.all_input_nodes}
        ):
            gone.add(node)  # by name, for dead code with an effect (a draw, a change in place) would stay
        elif node.name in selection.passed:
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
    read = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
    found = {
        name: tensor
        for name, tensor in tensors.items()
        if name in read or (name in net.tensors and name not in selection.unread)
    }
    for name, tensor in _others(net.model, tensors, selection):
        found[name] = made.setdefault(id(tensor), _smaller(tensor, {}))
    passing = found.keys() - net.model.state_dict(keep_vars=True).keys()
    return GraphNetwork(graph, found, Calling(net.model, net.call), net.trace.out_spec, passing)


def _others(
    model: nn.Module, tensors: Collection[str], selection: Selection
) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and buffers that the graph never had; not those of modules that are left out."""
    gone = {name.rpartition(".")[0] for name in selection.unread}
    for name, tensor in tensors_of(model).items():
        if name not in tensors and name.rpartition(".")[0] not in gone:
            yield name, tensor


class _Batch:
    """Keeps the sizes of batches free: where the trace fixed them, they are read from the inputs again."""

    def __init__(self, net: Network, graph: fx.Graph, values: dict[fx.Node, Any]) -> None:
        self._space, self._graph, self._values = net.solution.space, graph, values
        by_name = {node.name: node for node in net.trace.graph.nodes if node.op == "placeholder"}
        self._sources: dict[Dim, fx.Node] = {}
        self._sizes: dict[Dim, fx.Node] = {}
        for name in net.trace.inputs:
            dims = net.solution.values[by_name[name]]
            if isinstance(dims, tuple) and dims:
                first = self._space.root(dims[0])
                if self._space.kind(first) is Kind.ATOM and self._space.size(first) > 1:
                    self._sources.setdefault(first, by_name[name])

    def free(self, op: Op, node: fx.Node) -> None:
        """Replaces stated sizes that are multiples of the batch size by that multiple."""
        if not self._sources or node.target is not op.node.target:
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
        """`size`, or an expression for it where the size of a batch is a factor of it."""
        if dim is None or not isinstance(size, int) or self._space.kind(dim) is Kind.SUM:
            return size
        result: Any = 1
        for factor in self._space.parts(dim) or (self._space.root(dim),):
            many = self._space.size(factor)
            if factor in self._sources and size % many == 0:
                size //= many
                with self._graph.inserting_before(node):
                    found = self._size(factor)
                    result = (
                        found if result == 1 else self._graph.call_function(operator.mul, (result, found))
                    )
        if result == 1 or size == 1:
            return size if result == 1 else result
        with self._graph.inserting_before(node):
            return self._graph.call_function(operator.mul, (result, size))

    def _size(self, atom: Dim) -> fx.Node:
        if atom not in self._sizes:
            after = next(n for n in self._graph.nodes if n.op == "call_function")
            with self._graph.inserting_before(after):
                source = self._values[self._sources[atom]]
                self._sizes[atom] = self._graph.call_function(torch.ops.aten.sym_size.int, (source, 0))
        return self._sizes[atom]


def _smaller(whole: torch.Tensor, kept: Mapping[int, list[int]]) -> torch.Tensor:
    cut = take(whole.detach(), kept).clone()
    return nn.Parameter(cut, whole.requires_grad) if isinstance(whole, nn.Parameter) else cut


def _attach(root: nn.Module, name: str, tensor: torch.Tensor, *, persistent: bool) -> None:
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
        module.register_buffer(leaf, tensor, persistent)


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
