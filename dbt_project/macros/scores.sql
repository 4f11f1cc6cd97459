{# Points of one ledger entry at an instant: points x 2^(-age / half-life); no half-life means they stay. #}
{% macro decayed_points(points, half_life_days, occurred_at, instant) -%}
    {{ points }} * case
        when {{ half_life_days }} is null then 1.0
        else pow(0.5, {{ seconds_between(occurred_at, instant) }} / 86400.0 / {{ half_life_days }})
    end
{%- endmacro %}

{# A rule's sum within its cap; the cap of a negative rule bounds how far it can pull down. #}
{% macro capped(total, cap) -%}
    case
        when {{ cap }} is null then {{ total }}
        when {{ total }} < 0 then greatest({{ total }}, -{{ cap }})
        else least({{ total }}, {{ cap }})
    end
{%- endmacro %}

{# Points of each rule within its cap, those of a group's rules together within the group's: of `told` (`key`, rule_number and the `columns`) and
   the rules of the model. Apart, as most rules are of no group. #}
{% macro points_within_caps(told, key, columns) %}
select
    {{ told }}.{{ key }},
    rules.entry_kind,
    {% for column in columns %}
    {{ capped(told ~ '.' ~ column, 'rules.cap') }} as {{ column }},
    {% endfor %}
from {{ told }}
inner join rules on {{ told }}.rule_number = rules.rule_number
where rules.group_id is null
union all
select
    {{ told }}.{{ key }},
    rules.entry_kind,
    {% for column in columns %}
    {{ capped('sum(' ~ capped(told ~ '.' ~ column, 'rules.cap') ~ ')', 'any_value(rules.group_cap)') }} as {{ column }},
    {% endfor %}
from {{ told }}
inner join rules on {{ told }}.rule_number = rules.rule_number
where rules.group_id is not null
group by {{ told }}.{{ key }}, rules.entry_kind, rules.group_id
{% endmacro %}

{# Letter of a fit score by the thresholds of the scoring version. #}
{% macro grade_of(fit, versions) -%}
    case
        when {{ fit }} >= {{ versions }}.grade_a then 'A'
        when {{ fit }} >= {{ versions }}.grade_b then 'B'
        when {{ fit }} >= {{ versions }}.grade_c then 'C'
        else 'D'
    end
{%- endmacro %}

{# Level of an engagement score by the thresholds of the scoring version, 1 the most; null where it has none. #}
{% macro level_of(engagement, versions) -%}
    case
        when {{ versions }}.level_1 is null then null
        when {{ engagement }} >= {{ versions }}.level_1 then 1
        when {{ engagement }} >= {{ versions }}.level_2 then 2
        when {{ engagement }} >= {{ versions }}.level_3 then 3
        else 4
    end
{%- endmacro %}

{# Whether the version lets people of this grade and level become MQLs. #}
{% macro may_qualify(grade, level, versions) -%}
    ({{ versions }}.mql_cells is null or coalesce(contains({{ versions }}.mql_cells, {{ grade }} || {{ level }}), false))
{%- endmacro %}

{# Whether an entry of the ledger counts at an instant: from `withheld_at` on consent forbids its use. #}
{% macro counts_at(withheld_at, instant) -%}
    coalesce({{ withheld_at }} > {{ instant }}, true)
{%- endmacro %}
