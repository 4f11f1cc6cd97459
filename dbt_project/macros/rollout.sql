{# The version of a kind that is tried on some people, the active one, the share of people (per cent), and who is allowed and denied; none where
   there is no trial. Asked for by name: whoever has no trial need not be told of it. #}
{% macro trial_of(kind) %}
    {% if not execute %}{{ return(none) }}{% endif %}
    {% set trials = api.Relation.create(database=target.database, schema='raw_policies', identifier='rollout_trials') %}
    {% set people = api.Relation.create(database=target.database, schema='raw_policies', identifier='rollout_people') %}
    {% if not load_relation(trials) %}{{ return(none) }}{% endif %}
    {% set found = run_query("select version, active_version, share from " ~ trials ~ " where kind = '" ~ kind ~ "'").rows %}
    {% if not found %}{{ return(none) }}{% endif %}
    {% set named = {'allow': [], 'deny': []} %}
    {% for row in run_query("select effect, who from " ~ people ~ " where kind = '" ~ kind ~ "' order by effect, who").rows %}
        {% do named[row['effect']].append(row['who'] | replace("'", "''")) %}
    {% endfor %}
    {{ return({
        'version': found[0]['version'], 'active_version': found[0]['active_version'], 'share': found[0]['share'],
        'allow': named['allow'], 'deny': named['deny'],
    }) }}
{% endmacro %}

{# The version that decides for a person. Which people is settled by a hash of kind and person: it stays, and a larger share takes in whoever
   a smaller one had. #}
{% macro version_for(kind, trial, person_id, email) -%}
    case
        {% for effect, version in [('deny', trial['active_version']), ('allow', trial['version'])] if trial[effect] %}
        when
            {{ person_id }} in ('{{ trial[effect] | join("', '") }}')
            or lower(trim({{ email }})) in ('{{ trial[effect] | join("', '") }}')
            or '@' || split_part(lower(trim({{ email }})), '@', 2) in ('{{ trial[effect] | join("', '") }}')
            then '{{ version }}'
        {% endfor %}
        when {{ hash64(["'" ~ kind ~ "'", person_id]) }} % 10000 < {{ trial['share'] }} * 100 then '{{ trial["version"] }}'
        else '{{ trial["active_version"] }}'
    end
{%- endmacro %}
