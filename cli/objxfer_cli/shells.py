"""Completion in bash, zsh and fish: click finds out what, and these scripts hand it to the shell.

click's own scripts are not enough: a colon, as in ``tls://``, ends a word in bash, a value would be
taken for shell syntax there, and a blank would follow where more is to be typed.
"""

from __future__ import annotations

import os
import sys
from typing import Any, ClassVar, Final

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    ShellComplete,
    add_completion_class,
    shell_complete,
    split_arg_string,
)

VARIABLE: Final = "_OBJXFER_COMPLETE"
"""Says ``bash_source`` where the script is asked for, and ``bash_complete`` where it asks."""

_BASH: Final = r"""
%(complete_func)s() {
    local response line value quoted
    response=$(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
    COMPREPLY=()
    while IFS= read -r line; do
        value=${line#*,}
        case ${line%%%%,*} in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                printf -v quoted %%q "$value"
                # What would have to be quoted is not put between quotes that are open.
                [[ ${COMP_WORDS[COMP_CWORD]} == [\"\']* && $quoted != "$value" ]] && continue
                [[ $value == *[-:/] ]] && compopt -o nospace
                COMPREPLY+=("$quoted")
                ;;
        esac
    done <<< "$response"
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_ZSH: Final = r"""#compdef %(prog_name)s
%(complete_func)s() {
    local -a response described whole begun
    local type value help
    response=("${(@f)$(env COMP_LINE="${(j: :)words[1,CURRENT-1]} $PREFIX" \
        %(complete_var)s=zsh_complete "${words[1]}" 2>/dev/null)}")
    for type value help in "${response[@]}"; do
        case $type in
            (dir|file)
                [[ $PREFIX == -*=* ]] && compset -P 1 '*='
                if [[ $type == dir ]]; then _path_files -/; else _path_files; fi ;;
            (plain)
                if [[ $help != _ ]]; then described+=("${value//:/\\:}:$help")
                elif [[ $value == *[-:/] ]]; then begun+=("$value")
                else whole+=("$value")
                fi ;;
        esac
    done
    (( $#described )) && _describe -V unsorted described -U
    (( $#whole )) && compadd -U -V unsorted -a whole
    (( $#begun )) && compadd -U -S '' -V unsorted -a begun
    return 0
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

_FISH: Final = r"""
function %(complete_func)s
    set -l words (commandline -opc)
    set -l response (env COMP_LINE=(commandline -cp | string collect) \
        %(complete_var)s=fish_complete $words[1] 2>/dev/null)
    for completion in $response
        set -l parts (string split -m 2 , -- $completion)
        switch $parts[1]
            case dir
                __fish_complete_directories $parts[3] | string replace -r '^' -- $parts[2]
            case file
                __fish_complete_path $parts[3] | string replace -r '^' -- $parts[2]
            case plain
                echo -- $parts[2]$parts[3]
        end
    end
end
complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class _Line(ShellComplete):
    """Reads what is typed, up to the cursor, from ``COMP_LINE``."""

    def get_completion_args(self) -> tuple[list[str], str]:
        # With a letter behind it, the last word is the one at the cursor, an empty one too.
        _, *args, last = split_arg_string(f"{os.environ['COMP_LINE']}x")
        self.typed = last[:-1]
        return args, self.typed

    @property
    def option(self) -> str:
        """The option at the cursor with its equals sign, if its value is being typed: ``--to=``."""
        name, equals, _ = self.typed.partition("=")
        return name + equals if equals and name.startswith("-") else ""


class _Bash(_Line, BashComplete):
    source_template: ClassVar[str] = _BASH

    def format_completion(self, item: CompletionItem[Any]) -> str:
        # Only what follows the last of these that is typed is replaced.
        breaks, value, typed = os.environ["COMP_WORDBREAKS"], item.value, self.typed
        if "=" in breaks:
            typed = typed.removeprefix(self.option)
        else:
            value = self.option + value
        if ":" in breaks:
            value = value.removeprefix(typed[: typed.rfind(":") + 1])
        return f"{item.type},{value}"


class _Zsh(_Line):
    name: ClassVar[str] = "zsh"
    source_template: ClassVar[str] = _ZSH

    def format_completion(self, item: CompletionItem[str]) -> str:
        return f"{item.type}\n{self.option}{item.value}\n{item.help or '_'}"


class _Fish(_Line):
    name: ClassVar[str] = "fish"
    source_template: ClassVar[str] = _FISH

    def format_completion(self, item: CompletionItem[str]) -> str:
        described = f"\t{item.help}" if item.help else ""
        return f"{item.type},{self.option},{item.value}{described}"


def answer(command: click.Command, name: str, instruction: str) -> int:
    """Do what ``VARIABLE`` says; return the exit code.

    Whatever goes wrong with a completion, there is none, and nothing is said of it.
    """
    for each in (_Bash, _Zsh, _Fish):
        add_completion_class(each)
    if not instruction.endswith("_complete"):
        return shell_complete(command, {}, name, VARIABLE, instruction)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        return shell_complete(command, {}, name, VARIABLE, instruction)
    except BaseException:  # noqa: BLE001 - who types wants no traceback
        return 1
    finally:
        sys.stdout.flush()
